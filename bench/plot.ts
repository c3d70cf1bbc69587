/** A picture of measurements: how a figure grows with the number of files, one line for each contender, both axes logarithmic. */

export interface Line {
  readonly name: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

export interface Panel {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  readonly lines: readonly Line[]
}

const WIDTH = 460
const HEIGHT = 340
const LEFT = 62
const RIGHT = 40
const TOP = 40
const BOTTOM = 52
const LEGEND_HEIGHT = 30

/** Told apart also by those who see fewer colours (Okabe and Ito). */
const COLOURS = ['#000000', '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00']

/** SVG: the panels side by side, with one legend. The lines of each panel are the same, in the same order. */
export function plot(panels: readonly Panel[]): string {
  const width = WIDTH * panels.length
  const height = HEIGHT + LEGEND_HEIGHT
  const names = panels[0]?.lines.map(({ name }) => name) ?? []
  const step = (width - LEFT) / Math.max(1, names.length)
  const legend = names.map((name, i) => {
    const x = LEFT + i * step
    const y = HEIGHT + LEGEND_HEIGHT / 2
    return `<line x1="${x}" y1="${y}" x2="${x + 22}" y2="${y}" stroke="${colourOf(i)}" stroke-width="2"/>${text(x + 28, y + 4, name)}`
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(panels.map(({ title }) => title).join('; '))}</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...panels.map((panel, i) => `<g transform="translate(${i * WIDTH} 0)">${drawn(panel)}</g>`),
    ...legend,
    '</svg>',
    '',
  ].join('\n')
}

function drawn({ title, xLabel, yLabel, lines }: Panel): string {
  const points = lines.flatMap((line) => line.points)
  const x = axis(
    points.map((point) => point.x),
    LEFT,
    WIDTH - RIGHT,
  )
  const y = axis(
    points.map((point) => point.y),
    HEIGHT - BOTTOM,
    TOP,
  )
  const grid = [
    ...x.ticks.map(
      (tick) =>
        `<line x1="${x.at(tick)}" y1="${TOP}" x2="${x.at(tick)}" y2="${HEIGHT - BOTTOM}" stroke="#ddd"/>` +
        text(x.at(tick), HEIGHT - BOTTOM + 18, tick.toLocaleString('en'), 'middle'),
    ),
    ...y.ticks.map(
      (tick) =>
        `<line x1="${LEFT}" y1="${y.at(tick)}" x2="${WIDTH - RIGHT}" y2="${y.at(tick)}" stroke="#ddd"/>` +
        text(LEFT - 6, y.at(tick) + 4, tick.toLocaleString('en'), 'end'),
    ),
  ]
  const curves = lines.map(({ points: own }, i) => {
    const path = own.map((point) => `${x.at(point.x).toFixed(1)},${y.at(point.y).toFixed(1)}`)
    const marks = path.map((at) => `<circle cx="${at.split(',')[0]}" cy="${at.split(',')[1]}" r="3" fill="${colourOf(i)}"/>`)
    return `<polyline points="${path.join(' ')}" fill="none" stroke="${colourOf(i)}" stroke-width="2"/>${marks.join('')}`
  })
  return [
    `<text x="${LEFT}" y="22" font-size="14" font-weight="bold">${escaped(title)}</text>`,
    ...grid,
    ...curves,
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, xLabel, 'middle'),
    `<text transform="translate(14 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escaped(yLabel)}</text>`,
  ].join('\n')
}

/** Whole powers of ten around the values. */
function axis(values: readonly number[], from: number, to: number): { at(value: number): number; ticks: number[] } {
  const least = Math.floor(Math.log10(Math.min(...values)))
  const most = Math.max(least + 1, Math.ceil(Math.log10(Math.max(...values))))
  const ticks = Array.from({ length: most - least + 1 }, (_, i) => 10 ** (least + i))
  return { at: (value) => from + ((Math.log10(value) - least) / (most - least)) * (to - from), ticks }
}

const colourOf = (i: number): string => COLOURS[i % COLOURS.length] as string

const text = (x: number, y: number, what: string, anchor = 'start'): string =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(what)}</text>`

const escaped = (what: string): string => what.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
