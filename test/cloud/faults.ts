/** Fault scripts: which of the coming requests go wrong, and how. */

export type FaultKind =
  /** 503 SlowDown, nothing done. */
  | 'slow-down'
  /** 500 InternalError, nothing done. */
  | 'internal-error'
  /** Taken in and never answered, nothing done. */
  | 'stall'
  /** The connection is reset before anything is done. */
  | 'reset'
  /** It is done, and then the connection is reset instead of an answer. */
  | 'lost-answer'
  /** The body of the answer ends in its middle. */
  | 'truncate'
  /** One bit of the answer's body is wrong. */
  | 'bit-flip'
  /** One bit of the request's body is wrong when it arrives. */
  | 'bit-flip-sent'
  /** The answer names another checksum in its headers than that of what was taken in. */
  | 'other-checksum'
  /** The restored copy expires while it is read: half of it comes, then the connection ends and the object is frozen again. */
  | 'expire-copy'
  /** 400 ExpiredToken. */
  | 'expired-token'
  /** 403 AccessDenied. */
  | 'access-denied'
  /** 409 ConditionalRequestConflict: another writer was there at the same time. */
  | 'conflict'
  /** 412 PreconditionFailed: there is an object of that name, says the service. Nothing done. */
  | 'taken'
  /** 503 GlacierExpeditedRetrievalNotAvailable. */
  | 'no-expedited'
  /** Status 200, and an error in the body, as CompleteMultipartUpload may do. Nothing done. */
  | 'error-in-200'

export interface Fault {
  readonly kind: FaultKind
  /** The API's name of it; every operation without one. */
  readonly operation?: string
  /** `s3` or `glacier`, where both have an operation of that name. */
  readonly service?: string
  /** Only requests whose target (`bucket/key`, `vault/archive`) contains this. */
  readonly target?: string
  /** How many requests; 1 unless `percent` is given, then without end. */
  readonly times?: number
  /** Lets this many matching requests through first. */
  readonly after?: number
  /** Chance of each matching request, 0 to 100, drawn from `seed`. */
  readonly percent?: number
  readonly seed?: number
}

export interface Faults {
  /** Returns what takes it away again. */
  add(fault: Fault): () => void
  clear(): void
  /** Scripts that have not been played to their end. */
  readonly pending: number
}

export interface FaultPlayer extends Faults {
  /** The fault for this request, if one is due. */
  take(request: { service: string; operation: string; target: string }): FaultKind | undefined
}

export function faultPlayer(): FaultPlayer {
  const scripts: { fault: Fault; left: number; wait: number; draw: () => number }[] = []
  const remove = (script: (typeof scripts)[number]) => {
    const at = scripts.indexOf(script)
    if (at >= 0) scripts.splice(at, 1)
  }
  return {
    add(fault) {
      const left = fault.times ?? (fault.percent === undefined ? 1 : Number.POSITIVE_INFINITY)
      const script = { fault, left, wait: fault.after ?? 0, draw: seeded(fault.seed ?? 1) }
      scripts.push(script)
      return () => remove(script)
    },
    clear() {
      scripts.length = 0
    },
    get pending() {
      return scripts.length
    },
    take({ service, operation, target }) {
      for (const script of scripts) {
        const { fault } = script
        if (fault.operation !== undefined && fault.operation !== operation) continue
        if (fault.service !== undefined && fault.service !== service) continue
        if (fault.target !== undefined && !target.includes(fault.target)) continue
        if (script.wait > 0) {
          script.wait--
          continue
        }
        if (fault.percent !== undefined && script.draw() * 100 >= fault.percent) continue
        if (--script.left <= 0) remove(script)
        return fault.kind
      }
      return undefined
    },
  }
}

/** Mulberry32: the same draws for the same seed. */
function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
