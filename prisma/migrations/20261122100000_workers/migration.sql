-- Who is at work: one row per daemon, whose seen_at it renews. A row that was not renewed for a minute is nobody's.
CREATE TABLE "worker" (
  "owner" TEXT NOT NULL,
  "host" TEXT NOT NULL,
  "roles" TEXT[] NOT NULL,
  "started_at" TIMESTAMPTZ(6) NOT NULL DEFAULT now(),
  "seen_at" TIMESTAMPTZ(6) NOT NULL DEFAULT now(),
  CONSTRAINT "worker_pkey" PRIMARY KEY ("owner")
);

-- What the roots looked like from where they were crawled, so that a worker can tell whether it sees the same. NULL: nothing is known.
ALTER TABLE "set" ADD COLUMN "marks" JSONB;
