-- Whose turn it is to crawl, of sets whose roots overlap: the earlier asked crawls first.
ALTER TABLE "set" ADD COLUMN "crawl_asked_at" TIMESTAMPTZ(6);
-- Files that bundles of other sets will hold: found, and neither planned nor called unchanged until those are stored.
ALTER TABLE "set" ADD COLUMN "files_waiting" BIGINT NOT NULL DEFAULT 0;
CREATE TABLE "awaited" (
  "set" UUID NOT NULL,
  "bundle" BIGINT NOT NULL,
  CONSTRAINT "awaited_pkey" PRIMARY KEY ("set", "bundle"),
  CONSTRAINT "awaited_set_fkey" FOREIGN KEY ("set") REFERENCES "set" ("id"),
  CONSTRAINT "awaited_bundle_fkey" FOREIGN KEY ("bundle") REFERENCES "bundle" ("number")
);
