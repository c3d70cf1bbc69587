-- Names that a crawl did not find any more in a directory that it listed; and those that --delete-after-archive removed, which are not
-- gone: the vault holds them instead. `at`: when the directory was listed, or the name removed.
CREATE TABLE "gone" (
  "directory" INTEGER NOT NULL,
  "name" BYTEA NOT NULL,
  "set" UUID NOT NULL,
  "removed" BOOLEAN NOT NULL,
  "at" TIMESTAMPTZ(6) NOT NULL,
  CONSTRAINT "gone_pkey" PRIMARY KEY ("directory", "name", "set", "removed"),
  CONSTRAINT "gone_set_fkey" FOREIGN KEY ("set") REFERENCES "set" ("id")
);
-- For the set's record, which lists them.
CREATE INDEX "gone_set_idx" ON "gone" ("set", "directory", "name");
ALTER TABLE "set" ADD COLUMN "files_gone" BIGINT NOT NULL DEFAULT 0;
-- Records of the set that its vault holds, and the state that the last one says; '' while the first is due, NULL of sets of versions that
-- wrote none.
ALTER TABLE "set" ADD COLUMN "records" INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "set" ADD COLUMN "recorded" TEXT;
-- Sets that are over, and whose last record does not say so.
CREATE INDEX "set_unrecorded_idx" ON "set" ("started_at") WHERE "recorded" <> "state";
-- It was not archived by this catalog, but found in a vault.
ALTER TABLE "set" ADD COLUMN "rebuilt" BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE "set" SET "rebuilt" = TRUE, "options" = '{}' WHERE "options" ? 'rebuilt';
