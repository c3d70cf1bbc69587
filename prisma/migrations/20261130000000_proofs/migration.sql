-- secret: what proves that an attempt's manifest was written by a worker of this catalog, and by nobody else who may add to the vault. Made
-- with the first lease, gone when the bundle is stored. checksum: how the vault names the bytes of a tar that was sent in parts.
-- adopted: it was found in the vault, and its bytes were not read back here since: no source is removed because of it.
ALTER TABLE "bundle" ADD COLUMN "secret" BYTEA, ADD COLUMN "checksum" TEXT, ADD COLUMN "adopted" BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE "bundle" SET "adopted" = TRUE WHERE "set" IN (SELECT "id" FROM "set" WHERE "options" ? 'rebuilt');
