/** `npm run bench -- --growth <file.svg>`: time and memory of archiving against the number of files, as a table and as a picture. */
import { writeFileSync } from 'node:fs'
import type { Contender, Place } from './jobs.js'
import { cell, type Measured, median } from './measure.js'
import { type Panel, plot } from './plot.js'
import { type Tree, treeOf } from './trees.js'

const COUNTS = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000]

export interface GrowthParts {
  placeOf(tree: Tree): Place
  contenders(place: Place): readonly Contender[]
  /** Each contender's rounds, in which they took turns. */
  takeTurns(place: Place, contenders: readonly Contender[]): Promise<ReadonlyMap<string, readonly Measured[]>>
}

export async function benchGrowth(file: string, { placeOf, contenders, takeTurns }: GrowthParts): Promise<void> {
  const found = new Map<string, { files: number; seconds: number; megabytes: number }[]>()
  for (const files of COUNTS) {
    const place = placeOf(treeOf(files))
    for (const [name, runs] of await takeTurns(place, contenders(place))) {
      const seconds = median(runs.map((run) => run.seconds))
      const megabytes = median(runs.map((run) => run.largestBytes)) / 1e6
      found.set(name, [...(found.get(name) ?? []), { files, seconds, megabytes }])
    }
  }
  console.log(`| | ${COUNTS.map((files) => files.toLocaleString('en')).join(' | ')} |\n|---${'|---'.repeat(COUNTS.length)}|`)
  for (const [name, points] of found)
    console.log(
      `| ${cell(name)} | ${points.map(({ seconds, megabytes }) => `${seconds.toFixed(2)} s, ${megabytes.toFixed()} MB`).join(' | ')} |`,
    )
  const panel = (title: string, yLabel: string, key: 'seconds' | 'megabytes'): Panel => ({
    title,
    yLabel,
    xLabel: 'files of 1 KB mean',
    lines: [...found].map(([name, points]) => ({
      name: name.replace(/,.*/, ''),
      // What is over before its memory is sampled once has none, and no place on a logarithmic axis.
      points: points.flatMap((point) => (point[key] > 0 ? { x: point.files, y: point[key] } : [])),
    })),
  })
  writeFileSync(
    file,
    plot([panel('Archiving: time', 'seconds', 'seconds'), panel('Archiving: memory of the largest process', 'MB', 'megabytes')]),
  )
}
