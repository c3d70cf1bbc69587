DO $$ DECLARE role text; BEGIN
  FOREACH role IN ARRAY ARRAY['firn_crawler', 'firn_worker', 'firn_retriever', 'firn_finder', 'firn_reader'] LOOP
    IF to_regrole(role) IS NULL THEN EXECUTE format('CREATE ROLE %I', role); END IF;
  END LOOP;
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO firn_crawler, firn_worker, firn_retriever, firn_finder, firn_reader;

-- All read the catalog. The secrets that prove attempts are the workers' alone; who asked for what is the finders' and the readers'.
GRANT SELECT ON _prisma_migrations, catalog, host, vault, "set", awaited, gone, looked, aside, directory, owner, file, problem, worker, duty, retrieval, item
  TO firn_crawler, firn_worker, firn_retriever, firn_finder, firn_reader;
GRANT SELECT (number, id, "set", vault, state, indexed, attempt, lease_owner, lease_until, plan, files, entries, bytes, key, archive_id,
  tar_bytes, tar_sha256, checksum, adopted, archived_at, reason, changed_at) ON bundle TO firn_crawler, firn_retriever, firn_finder, firn_reader;
GRANT SELECT ON audit TO firn_finder, firn_reader;

-- Plans sets and bundles. It may not say that anything is stored, nor what was.
GRANT INSERT, UPDATE ON host, vault, "set" TO firn_crawler;
GRANT INSERT, DELETE ON problem, awaited TO firn_crawler;
GRANT INSERT, UPDATE, DELETE ON gone, looked, aside TO firn_crawler;
GRANT INSERT (id, "set", vault, state, plan, files, entries, bytes) ON bundle TO firn_crawler;
GRANT INSERT, UPDATE, DELETE ON worker TO firn_crawler;

-- Stores bundles and records their files. It may not change what other processes act upon: retrievals, places.
GRANT SELECT, UPDATE ON bundle TO firn_worker;
GRANT UPDATE ON "set" TO firn_worker;
GRANT INSERT ON directory, owner, file, problem TO firn_worker;
GRANT INSERT, UPDATE, DELETE ON worker TO firn_worker;

-- Asks for thaws, and places files.
GRANT UPDATE ON retrieval, item TO firn_retriever;
GRANT SELECT, INSERT, UPDATE, DELETE ON thaw_claim, duty, worker TO firn_retriever;

-- Asks for files. What it asks for is in the audit, which it can add to and not change.
GRANT INSERT, UPDATE, DELETE ON retrieval, item TO firn_finder;
GRANT SELECT, INSERT, UPDATE, DELETE ON thaw_claim TO firn_finder;
GRANT INSERT ON audit TO firn_finder;
GRANT UPDATE (indexed) ON bundle TO firn_finder, firn_worker;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO firn_crawler, firn_worker, firn_retriever, firn_finder;

DO $$ BEGIN
  IF to_regnamespace('firn_search') IS NOT NULL THEN
    GRANT USAGE ON SCHEMA firn_search TO firn_crawler, firn_worker, firn_retriever, firn_finder, firn_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA firn_search TO firn_crawler, firn_worker, firn_retriever, firn_finder, firn_reader;
    GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA firn_search TO firn_worker, firn_finder;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA firn_search TO firn_worker, firn_finder;
  END IF;
END $$;
