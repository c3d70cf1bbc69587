/**
 * Node 20 lacks `navigator`, which Node 21 brought. `pg` asks it whether it runs at a vendor's edge; where it is not there, it makes a
 * `Response` to find out, for which Node loads all of its HTTP client: some 25 ms at the start of every command.
 */
export function provideNavigator(): void {
  if ('navigator' in globalThis) return
  const [major] = process.versions.node.split('.')
  Object.defineProperty(globalThis, 'navigator', { value: Object.freeze({ userAgent: `Node.js/${major}` }), configurable: true })
}
