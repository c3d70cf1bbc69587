/**
 * Tars that no honest archiver writes: the tricks by which extractors were led astray, after the published faults of node-tar
 * (CVE-2018-20834, CVE-2021-32803, -32804, -37701, -37712, -37713, CVE-2024-28863), tar-fs (CVE-2018-20835, CVE-2024-12905,
 * CVE-2025-48387, -59343), tokio-tar (CVE-2025-62518) and Python's tarfile (CVE-2007-4559, CVE-2019-20907, CVE-2024-12718,
 * CVE-2025-4138, -4330, -4435, -4517, -8194), and what damage and carelessness make of a tar.
 */
import { base256, END, type Field, globalPax, header, longLink, longName, member, pax, record, tar } from './tar-bytes.js'

export interface HostileTar {
  readonly name: string
  readonly tar: Buffer
  /** A hole of so many bytes behind it: what a bomb unpacks to. */
  readonly hole?: number
}

const SETUID = 0o4755
const OWNED = 'owned by a tar'

/** `outside`: an absolute path beside the target, to aim at. */
export function corpus(outside: string, honest: Buffer): HostileTar[] {
  const all: HostileTar[] = []
  const add = (name: string, ...members: Buffer[]) => all.push({ name, tar: tar(...members) })
  const file = (name: string | Buffer, more: Field = {}) => member({ name, bytes: OWNED, ...more })
  const symlink = (name: string, link: string | Buffer, more: Field = {}) => member({ name, flag: '2', link, ...more })
  const hardlink = (name: string, link: string) => member({ name, flag: '1', link })
  const directory = (name: string, more: Field = {}) => member({ name, flag: '5', ...more })

  // Names that choose their own place.
  for (const [name, path] of [
    ['absolute', `${outside}/f`],
    ['absolute, two slashes', `//${outside}/f`],
    ['absolute, many slashes (CVE-2021-32804)', `////////${outside}/f`],
    ['absolute behind dots', `./${outside}/f`],
    ['upwards', '../out/f'],
    ['upwards, far', `${'../'.repeat(30)}${outside.slice(1)}/f`],
    ['upwards in the middle', 'a/../../out/f'],
    ['upwards at the end', 'a/b/../../..'],
    ['upwards behind a dot', './../out/f'],
    ['upwards with slashes between', '..//..//out//f'],
    ['only dots', '..'],
    ['only one dot', '.'],
    ['a backslash', '..\\out\\f'],
    ['a drive', 'C:\\Windows\\f'],
    ['a drive with a relative path (CVE-2021-37713)', 'C:../out/f'],
    ['an UNC path', '\\\\server\\share\\f'],
    ['percent', '%2e%2e/out/f'],
    ['a slash that is none', '..\u2215out\u2215f'],
    ['an overlong slash', '..\u012fout\u012ff'],
    ['a trailing space', '.. /out/f'],
    ['only slashes', '///'],
    ['a slash at the end of a file', 'out/'],
    ['the staging directory', '.firn-r1/1'],
    ['the staging directory, in capitals', '.FIRN-R1/directories'],
    ['the manifest', '.firn/manifest.ndjson'],
    ['a dash', '--checkpoint-action=exec=sh f'],
    ['a tilde', '~root/.ssh/authorized_keys'],
    ['a newline', 'a\n../out/f'],
  ] as const)
    add(`name: ${name}`, file(path))
  add('name: empty', file('', { name: Buffer.alloc(0) }))
  add('name: ustar prefix upwards', file('f', { prefix: '../out' }))
  add('name: ustar prefix absolute', file('f', { prefix: outside.slice(0, 100) }))
  add('name: pax path upwards', pax(record('path', '../out/f')), file('harmless'))
  add('name: pax path absolute', pax(record('path', `${outside}/f`)), file('harmless'))
  add('name: pax path for all', globalPax(record('path', '../out/f')), file('harmless'), file('harmless too'))
  add('name: two pax paths', pax(record('path', 'harmless'), record('path', '../out/f')), file('x'))
  add('name: GNU long name upwards', longName(`${'../'.repeat(80)}${outside.slice(1)}/f`), file('harmless'))
  add('name: GNU long name and pax path', longName('../out/f'), pax(record('path', 'harmless')), file('x'))
  add('name: 256 bytes', pax(record('path', 'n'.repeat(256))), file('x'))
  add('name: 100,000 bytes deep', pax(record('path', 'd/'.repeat(50_000))), file('x'))
  add('name: 3 MiB', longName('n'.repeat(3 * 2 ** 20)), file('x'))

  // Links that lead out, and files that go through them.
  const through = (name: string, first: Buffer, path = 'l/f') => add(`link: ${name}`, first, file(path))
  through('symlink upwards, then a file through it (CVE-2007-4559)', symlink('l', '../out'))
  through('symlink absolute, then a file through it', symlink('l', outside))
  through('symlink to /, then a file through it', symlink('l', '/'), `l${outside}/f`)
  through('symlink to a file, then the file itself', symlink('l', '../out/f'), 'l')
  through('symlink with a slash at its end (CVE-2021-37701)', symlink('l/', '../out'))
  through('symlink with a backslash (CVE-2021-37701)', symlink('l\\', '../out'), 'l\\/f')
  through('symlink of the target itself', symlink('.', '../out'), 'f')
  through('symlink in pax', Buffer.concat([pax(record('linkpath', '../out')), symlink('l', 'harmless')]))
  through('symlink in a GNU long link', Buffer.concat([longLink('../out'), symlink('l', 'harmless')]))
  through('symlink over a directory (CVE-2021-32803)', Buffer.concat([directory('l/'), symlink('l', '../out')]))
  through('symlink over a directory, in another case', Buffer.concat([directory('L/'), symlink('l', '../out')]), 'L/f')
  through(
    'symlink of another normal form (CVE-2021-37712)',
    Buffer.concat([directory('caf\u00e9'), symlink('cafe\u0301', '../out')]),
    'caf\u00e9/f',
  )
  through('symlink to a symlink', Buffer.concat([symlink('a', '../out'), symlink('l', 'a')]))
  through(
    'symlinks one in the other (CVE-2025-4517)',
    Buffer.concat([directory('d'.repeat(80)), symlink('a', 'd'.repeat(80)), symlink('l', 'a/../../out')]),
  )
  through('symlink in a circle', Buffer.concat([symlink('l', 'm'), symlink('m', 'l')]))
  through('symlink to itself', symlink('l', 'l'))
  through('symlink to nothing at all', symlink('l', ''))
  through('symlink of 4,096 bytes (CVE-2025-4330)', Buffer.concat([longLink(`${'x/../'.repeat(819)}..`), symlink('l', 'x')]))
  through('symlink with NUL', Buffer.concat([pax(record('linkpath', '../out\0harmless')), symlink('l', 'harmless')]))
  through('symlink through a gate that is there', Buffer.alloc(0), 'gate/f')
  through('directory through a gate that is there', directory('gate/sub/'), 'gate/sub/f')
  through('directory of the mode of another (CVE-2024-12718)', symlink('l', '../out'), 'l/')
  add('link: directory with its own mode through a symlink', symlink('l', '../out'), directory('l/', { mode: 0o777, mtime: 1 }))
  add('link: hard link out (CVE-2024-12905)', hardlink('l', '../out/f'), file('l'))
  add('link: hard link absolute', hardlink('l', `${outside}/f`), file('l'))
  add('link: hard link to a password', hardlink('l', '/etc/passwd'), file('l', { mode: 0o777 }))
  add('link: hard link through a symlink (CVE-2025-48387)', symlink('s', '../out'), hardlink('l', 's/f'), file('l'))
  add('link: hard link to a symlink (CVE-2018-20834)', symlink('s', '../out/f'), hardlink('l', 's'), file('l'))
  add('link: hard link to itself', hardlink('l', 'l'))
  add('link: hard link to what does not come', hardlink('l', 'later'), file('later'))
  add('link: hard link to the target', hardlink('l', '.'), file('l/f'))
  add('link: hard link with bytes of its own', member({ name: 'l', flag: '1', link: '../out/f', bytes: OWNED }))
  add('link: symlink with bytes of its own', member({ name: 'l', flag: '2', link: '../out/f', bytes: OWNED }), file('l/f'))
  add(
    'link: file exchanged for a symlink and back',
    file('f'),
    symlink('f', '../out/f'),
    file('f'),
    symlink('f', '../out'),
    file('f/f'),
  )

  // The same name again, as something else.
  add('twice: the same file', file('f'), file('f', { bytes: 'another' }), file('f', { bytes: '' }))
  add('twice: file, then directory', file('f'), directory('f/'), file('f/g'))
  add('twice: directory, then file', directory('f/'), file('f/g'), file('f'))
  add('twice: file, then hard link of it', file('f'), hardlink('f', 'f'))
  add('twice: other cases', file('F'), file('f'), directory('F/'), symlink('F', '../out'))
  add('twice: 500 times', ...Array.from({ length: 500 }, (_, n) => file('f', { bytes: `${n}` })))

  // What is no file at all.
  for (const [name, flag] of [
    ['character device', '3'],
    ['block device', '4'],
    ['FIFO', '6'],
    ['contiguous file', '7'],
    ['GNU dump directory', 'D'],
    ['GNU multi-volume', 'M'],
    ['GNU sparse', 'S'],
    ['GNU volume', 'V'],
    ['Solaris ACL', 'A'],
    ['old pax', 'X'],
    ['of a vendor', 'Z'],
    ['unknown', '\xff'],
    ['old file', '\0'],
  ] as const)
    add(`kind: ${name}`, member({ name: 'dev', flag, bytes: OWNED, device: [1, 3], mode: 0o666 }), file('dev/f'))
  add(
    'kind: GNU sparse in pax',
    pax(
      record('GNU.sparse.major', '1'),
      record('GNU.sparse.minor', '0'),
      record('GNU.sparse.name', '../out/f'),
      record('GNU.sparse.realsize', '999999999999'),
    ),
    file('x', { bytes: '1\n0\n999999999999\n' }),
  )

  // Modes, owners and times.
  add('mode: setuid of root', file('su', { mode: SETUID, uid: 0, gid: 0 }))
  add('mode: setgid, sticky, everybody', file('sg', { mode: 0o7777 }), directory('sd/', { mode: 0o7777 }))
  add('mode: beyond all', file('m', { mode: 0o7777777 }))
  add('mode: none', directory('closed/', { mode: 0 }), file('closed/f'))
  add(
    'mode: capabilities',
    pax(record('SCHILY.xattr.security.capability', Buffer.from('01000002ffffffff00000000ffffffff00000000', 'hex'))),
    file('cap'),
  )
  add('mode: xattrs with NUL', pax(record('SCHILY.xattr.user.\0x', 'y'), record('SCHILY.xattr.', 'y')), file('xa'))
  add('owner: negative', file('o', { uid: base256(-1n, 8), gid: base256(-2n, 8) }))
  add('owner: huge', file('o', { uid: base256(2n ** 54n, 8) }))
  add('time: negative', file('t', { mtime: base256(-(2n ** 62n)) }))
  add('time: huge', file('t', { mtime: base256(2n ** 80n) }))
  add('time: NaN in pax', pax(record('mtime', 'NaN'), record('atime', '-Infinity'), record('ctime', '1e400')), file('t'))

  // Sizes.
  for (const [name, size] of [
    ['one less than nothing', base256(-1n)],
    ['back to its own header (CVE-2025-8194)', base256(-512n)],
    ['most negative', base256(-(2n ** 87n))],
    ['2^63', base256(2n ** 63n)],
    ['2^53', base256(2n ** 53n)],
    ['all ones', Buffer.alloc(12, 0xff)],
    ['octal, the most', Buffer.from('777777777777')],
    ['no number', Buffer.from('size of it!!')],
    ['a minus', Buffer.from('-0000000512\0')],
    ['hexadecimal', Buffer.from('0x00000200\0\0')],
    ['spaces', Buffer.alloc(12, 0x20)],
    ['NUL', Buffer.alloc(12)],
    ['one more than there is', 2 * 512 + 1],
  ] as const)
    add(`size: ${name}`, member({ name: 'f', size, bytes: OWNED }), file('after'))
  for (const size of ['-1', '-512', '0', '1e3', '99999999999999999999', 'NaN', '', '512\0', ' 12', '0x10'])
    add(
      `size: in pax ${JSON.stringify(size)}`,
      pax(record('size', size)),
      member({ name: 'f', bytes: OWNED.repeat(100) }),
      file('after'),
    )
  // The header inside is a member for whoever believes the one size, and data for whoever believes the other.
  const smuggled = file('../out/f')
  add(
    'size: pax says all, the header nothing (CVE-2025-62518)',
    pax(record('size', String(smuggled.length))),
    header({ name: 'f', size: 0 }),
    smuggled,
  )
  add('size: pax says nothing, the header all', pax(record('size', '0')), header({ name: 'f', size: smuggled.length }), smuggled)
  add('size: of all that follow', globalPax(record('size', '1536')), file('a'), file('b'), file('c'))
  add('size: directory with bytes', member({ name: 'd/', flag: '5', bytes: smuggled }), file('after'))
  add('size: symlink with a size only', header({ name: 'l', flag: '2', link: '../out', size: 512 }), smuggled)
  add('size: pax header of 2^40', header({ name: 'x', flag: 'x', size: 2 ** 40 / 512 }), smuggled)
  add('size: pax header, negative', header({ name: 'x', flag: 'x', size: base256(-512n) }), smuggled, file('f'))
  add('size: long name, negative', header({ name: 'x', flag: 'L', size: base256(-1n), magic: 'ustar  \0' }), smuggled, file('f'))

  // Records that are none.
  for (const [name, bytes] of [
    ['without a length', Buffer.from('path=../out/f\n')],
    ['of length 0', Buffer.from('0 path=../out/f\n')],
    ['of negative length', Buffer.from('-9 path=../out/f\n-9 a=b c=d\n')],
    ['of endless length', Buffer.from('99999999999999999999 path=../out/f\n')],
    ['without a value', Buffer.from('7 path\n')],
    ['without an end', Buffer.from('30 path=../out/f')],
    ['with NUL in its path', record('path', 'harmless\0../out/f')],
    ['with NUL in its key', record('pa\0th', '../out/f')],
    ['of the prototype', Buffer.concat([record('__proto__', '../out/f'), record('constructor', 'x'), record('toString', 'x')])],
    ['that are not UTF-8', record('path', Buffer.from([0x2e, 0x2e, 0x2f, 0xff, 0xfe, 0x66]))],
    ['20,000 of them', Buffer.concat(Array.from({ length: 20_000 }, (_, n) => record(`k${n}`, 'v')))],
    ['empty', Buffer.alloc(0)],
    ['of binary', Buffer.from(Array.from({ length: 512 }, (_, n) => n & 0xff))],
  ] as const)
    add(`pax: records ${name}`, member({ name: 'PaxHeader/x', flag: 'x', bytes }), file('harmless'))
  add('pax: header before header', pax(record('path', 'a')), pax(record('path', '../out/f')), file('x'))
  add('pax: header before nothing', pax(record('path', '../out/f')))
  add('pax: long name before nothing', longName('../out/f'))
  add('pax: 1,000 headers before one member', ...Array.from({ length: 1_000 }, () => pax(record('path', '../out/f'))), file('x'))
  add('pax: charset', pax(record('hdrcharset', 'BINARY'), record('path', Buffer.from([0xff, 0x2f, 0x66]))), file('x'))

  // Names for a terminal.
  add('terminal: colours and a title', file('\u001b[31mred\u001b]0;owned\u0007'), file('\u009b2J\u009d'))
  add('terminal: returns and backspaces', file('good\r\u001b[2Kbad'), file('a\b\b\bb'), file('\u202egnp.exe'))
  add('terminal: in a link', symlink('\u001bc', '\u001b]52;c;b3duZWQ=\u0007'), file('\u001bc/f'))
  add('terminal: in the owner', file('u', { uname: '\u001b[31mroot' }))
  add('name: not UTF-8', file(Buffer.from([0xff, 0xfe, 0x2f, 0xc0, 0xae, 0xc0, 0xae, 0x2f, 0x66])))
  add('name: not UTF-8, with dots', file(Buffer.from([0xc0, 0xae, 0xc0, 0xae, 0xc0, 0xaf, 0x66])))
  add('name: lone surrogates', file(Buffer.from([0xed, 0xa0, 0x80, 0x2f, 0xed, 0xb0, 0x80])))

  // Headers.
  add('header: wrong checksum', member({ name: '../out/f', checksum: 1, bytes: OWNED }))
  add('header: no magic', member({ name: '../out/f', magic: '\0\0\0\0\0\0\0\0', bytes: OWNED }))
  add('header: old GNU magic', member({ name: '../out/f', magic: 'ustar  \0', bytes: OWNED }))
  add('header: only zeros, then more', END, file('../out/f'))
  all.push({ name: 'header: nothing at all', tar: Buffer.alloc(0) })
  all.push({ name: 'header: one byte', tar: Buffer.from('x') })
  all.push({ name: 'header: text', tar: Buffer.from('<html>503 Slow Down</html>\n'.repeat(100)) })
  all.push({ name: 'header: gzip', tar: Buffer.concat([Buffer.from('1f8b0800000000000003', 'hex'), Buffer.alloc(2_000, 0x55)]) })

  // The honest bundle, spoilt.
  all.push({ name: 'honest', tar: honest })
  for (let end = 0; end < honest.length; end += 512) all.push({ name: `truncated at ${end}`, tar: honest.subarray(0, end) })
  all.push({ name: 'truncated in a block', tar: honest.subarray(0, 700) })
  all.push({ name: 'garbage after the end', tar: Buffer.concat([honest, Buffer.from('garbage'.repeat(1_000))]) })
  all.push({ name: 'a header after the end', tar: Buffer.concat([honest, smuggled]) })
  all.push({ name: 'concatenated: the same', tar: Buffer.concat([honest, honest]) })
  all.push({
    name: 'concatenated: a hostile one after it',
    tar: Buffer.concat([honest, tar(symlink('l', '../out'), file('l/f'))]),
  })
  all.push({
    name: 'concatenated: a hostile one before it',
    tar: Buffer.concat([tar(symlink('l', '../out'), file('l/f')), honest]),
  })
  all.push({ name: 'garbage before it', tar: Buffer.concat([Buffer.alloc(512, 0x41), honest]) })
  all.push({ name: 'one byte more before it', tar: Buffer.concat([Buffer.alloc(1), honest]) })

  // Bombs: a few bytes in the vault, holes behind them.
  const HOLE = 300 * 2 ** 20
  const bomb = (name: string, head: Buffer, hole: number) => all.push({ name: `bomb: ${name}`, tar: head, hole })
  bomb('a file of 300 MiB of nothing', header({ name: 'f', size: HOLE }), HOLE)
  bomb('a manifest of 300 MiB of nothing', header({ name: '.firn/manifest.ndjson', size: HOLE }), HOLE)
  bomb('a pax header of 300 MiB', header({ name: 'x', flag: 'x', size: HOLE }), HOLE)
  bomb('a long name of 300 MiB', header({ name: 'x', flag: 'L', size: HOLE, magic: 'ustar  \0' }), HOLE)
  bomb('300 MiB of empty headers', END, HOLE)
  add('bomb: 20,000 empty members', ...Array.from({ length: 20_000 }, (_, n) => header({ name: `d${n % 7}/f${n}` })))
  add('bomb: a manifest of 5 MB in one line', member({ name: '.firn/manifest.ndjson', bytes: '['.repeat(5_000_000) }))
  add('bomb: 500 directories deep', pax(record('path', `${'d/'.repeat(500)}f`)), file('x'))
  return all
}
