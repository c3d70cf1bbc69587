-- Rows of files are found by their keys alone, whatever the planner knows of them; so it looks at 3,000 of them, and not at 30,000, each
-- time that a tenth more are there. A command of a few seconds spent half a second of processor time on the larger sample.
ALTER TABLE "file"
  ALTER "bundle" SET STATISTICS 10, ALTER "directory" SET STATISTICS 10, ALTER "size" SET STATISTICS 10,
  ALTER "mtime_ns" SET STATISTICS 10, ALTER "ctime_ns" SET STATISTICS 10, ALTER "atime_ns" SET STATISTICS 10,
  ALTER "dev" SET STATISTICS 10, ALTER "ino" SET STATISTICS 10, ALTER "data_offset" SET STATISTICS 10,
  ALTER "seq" SET STATISTICS 10, ALTER "nlink" SET STATISTICS 10, ALTER "owner" SET STATISTICS 10,
  ALTER "mode" SET STATISTICS 10, ALTER "type" SET STATISTICS 10, ALTER "state" SET STATISTICS 10,
  ALTER "name" SET STATISTICS 10, ALTER "sha256" SET STATISTICS 10, ALTER "link" SET STATISTICS 10,
  ALTER "data_bundle" SET STATISTICS 10, ALTER "extra" SET STATISTICS 10;
