/** A request that the service refuses: what it answers instead. Each service writes it in its own form (S3 as XML, Glacier as JSON). */
export class Refusal extends Error {
  readonly status: number
  readonly code: string
  /** Elements of S3's error beside Code and Message (`StorageClass`, `Region`). */
  readonly details: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    code: string,
    message: string,
    { details = {}, headers = {} }: { details?: Record<string, string>; headers?: Record<string, string> } = {},
  ) {
    super(message)
    this.status = status
    this.code = code
    this.details = details
    this.headers = headers
  }
}
