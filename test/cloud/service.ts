/** What the server hands to a service, and what it gets back. A service is one room: `s3/`, `glacier/`. */
import type { Payload } from './payload.js'
import type { Refusal } from './refusal.js'
import type { Signed } from './signature.js'

/** A request before anybody looked into it. */
export interface Call {
  readonly id: string
  readonly method: string
  /** Without the port. */
  readonly host: string
  /** As it came, still encoded, without the query. */
  readonly path: string
  /** Decoded; a name without value is ''. */
  readonly query: ReadonlyMap<string, string>
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
}

export interface Service {
  /** As in the scope of a signature: `s3`, `glacier`. */
  readonly name: string
  /** S3 signs a path as it is sent; every other service signs it encoded once more. */
  readonly signsPathTwiceEncoded: boolean
  claims(call: Call): boolean
  route(call: Call): Route
  /** How this service says no. */
  refuse(refusal: Refusal, call: Call): Answer
}

export interface Route {
  /** The API's name of it: `PutObject`, `InitiateJob`. Requests are counted and faults are scripted by it. */
  readonly operation: string
  /** What it is about, for fault scripts and records: `bucket/key`, `vault/archive`. */
  readonly target: string
  /** Does it; the signature of the headers has been verified, the payload's hash is when the payload has been read. */
  run(signed: Signed, payload: Payload): Promise<Answer>
}

export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Streamed
  /** Makes the copy that is being read expire, for the fault `expire-copy`. */
  readonly expire?: () => void
}

export interface Streamed {
  readonly bytes: number
  readonly chunks: AsyncIterable<Buffer>
}
