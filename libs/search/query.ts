export interface Query {
  readonly all: readonly Phrase[]
  readonly none: readonly Phrase[]
}
export type Phrase = readonly string[]
