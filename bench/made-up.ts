/** A made-up archive of any size, the same each time: paths like those of labs and studios, in the order in which a walk finds them. */
import { type Raw, rawFromText } from '#libs/os/raw.js'

export const FILES_PER_BUNDLE = 1_000

export const PLACES = ['projects', 'raw', 'archive', 'scans', 'photos', 'incoming', 'survey', 'results', 'backup', 'sequencing']
export const NOUNS = [
  'frame',
  'sample',
  'report',
  'IMG',
  'plate',
  'MouseBrain',
  'notes',
  'summary',
  'run',
  'calibration',
  'YouTube',
  'index',
]
export const ENDINGS = ['jpg', 'tif', 'csv', 'tar.gz', 'json', 'pdf', 'fastq', 'txt']
/** Every directory has the number of a session, which comes again in other places. */
export const SESSIONS = 5_000

export function pathOf(number: number): string {
  const draw = chooser(number)
  const directory = Math.floor(number / 20)
  const drawn = chooser(directory + 7_000_000)
  const place = () => PLACES[drawn(PLACES.length)]
  const parts = [place(), `${place()}-${drawn(300)}`, `${2010 + drawn(15)}`, `session_${directory % SESSIONS}`]
  const noun = () => NOUNS[draw(NOUNS.length)]
  return `/data/${parts.join('/')}/${noun()}_${noun()}${String(draw(100_000)).padStart(5, '0')}.${ENDINGS[draw(ENDINGS.length)]}`
}

/** Of the bundle at this place, in the order of its tar. */
export const pathsOf = (bundle: number): Raw[] =>
  Array.from({ length: FILES_PER_BUNDLE }, (_, i) => pathOf(bundle * FILES_PER_BUNDLE + i))
    .sort()
    .map(rawFromText)

/** Whole numbers below `n`, the same for the same seed. */
export function chooser(seed: number): (n: number) => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0
  return (n) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x297a2d39) >>> 0
    return Math.floor((((state ^ (state >>> 12)) >>> 0) / 2 ** 32) * n)
  }
}
