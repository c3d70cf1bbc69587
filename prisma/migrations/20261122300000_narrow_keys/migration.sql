-- A file's bundle and directory as 32 bits: two thousand million of each are enough for a hundred times as many files, and each number
-- stands three times beside every file, in its row and in both indexes. The table is written anew, which takes as long as so many rows do.
ALTER TABLE "file" ALTER COLUMN "bundle" TYPE INTEGER, ALTER COLUMN "directory" TYPE INTEGER;
