-- Which xattrs a set kept, as bits: 1 the usual ones, 2 all others, 4 CIFS descriptors.
ALTER TABLE "set" ADD COLUMN "kept" SMALLINT NOT NULL GENERATED ALWAYS AS (
  CASE WHEN "options" -> 'keep' ->> 'xattrs' IN ('true', 'all') THEN 3 WHEN "options" -> 'keep' ->> 'xattrs' = 'usual' THEN 1 ELSE 0 END
  + CASE WHEN "options" -> 'keep' ->> 'cifs' = 'true' THEN 4 ELSE 0 END
) STORED;
-- Directories of which a vault holds everything that was asked to be kept, though sets kept less: `at` that time each file that was unchanged
-- in it was looked at, and had none of what these bits say.
CREATE TABLE "looked" (
  "directory" INTEGER NOT NULL,
  "vault" INTEGER NOT NULL,
  "kept" SMALLINT NOT NULL,
  "at" TIMESTAMPTZ(6) NOT NULL,
  CONSTRAINT "looked_pkey" PRIMARY KEY ("directory", "vault", "kept")
);
