-- What a person agreed to pay for a retrieval, and what was asked for since. Until agreed_at is set nobody but the one who asks
-- touches it. thaw_limit_usd is what thawing may cost in all; thaw_spent_usd is the price of every thaw that was asked for.
ALTER TABLE "retrieval"
  ADD COLUMN "agreed_at" TIMESTAMPTZ(6),
  ADD COLUMN "consent" JSONB,
  ADD COLUMN "thaw_limit_usd" DOUBLE PRECISION NOT NULL DEFAULT 0,
  ADD COLUMN "thaw_spent_usd" DOUBLE PRECISION NOT NULL DEFAULT 0;
-- Nothing cost anything until now.
UPDATE "retrieval" SET "agreed_at" = "created_at";

-- From the first byte that is needed of the bundle to the last: a vault that can thaw a part thaws no more.
ALTER TABLE "item"
  ADD COLUMN "span_offset" BIGINT,
  ADD COLUMN "span_length" BIGINT;

-- Who is asking for the thaw of a bundle at this moment: it looks and asks under this claim, so that no thaw is paid twice.
CREATE TABLE "thaw_claim" (
  "bundle" BIGINT NOT NULL,
  "lease_owner" TEXT NOT NULL,
  "lease_until" TIMESTAMPTZ(6) NOT NULL,
  CONSTRAINT "thaw_claim_pkey" PRIMARY KEY ("bundle")
);

-- What only one process may do at a time (`retriever`), and who does it.
CREATE TABLE "duty" (
  "name" TEXT NOT NULL,
  "lease_owner" TEXT NOT NULL,
  "lease_until" TIMESTAMPTZ(6) NOT NULL,
  CONSTRAINT "duty_pkey" PRIMARY KEY ("name")
);
