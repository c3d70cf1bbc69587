/** A process whose clock is wrong: `Date` goes by another time than the machine's. Timers and `performance.now` are left alone, as they are by a step of a real clock. */

/** `offsetMs` is asked each time. Returns what sets the clock right again. */
export function shiftDate(offsetMs: () => number): () => void {
  const Right = globalThis.Date
  const now = (): number => Right.now() + offsetMs()
  const Wrong = new Proxy(Right, {
    construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    apply: () => new Right(now()).toString(),
    get: (target, property) => (property === 'now' ? now : Reflect.get(target, property)),
  })
  globalThis.Date = Wrong
  return () => {
    globalThis.Date = Right
  }
}
