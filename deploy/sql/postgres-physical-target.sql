-- What `lockgate grants` prints for postgres-physical.yaml; `npm run deploy:generate` makes this file.
-- target: postgres, database shop at target.example:5432

-- nothing to run on a standby
-- Everything reaches this standby by replication from source: run what is printed for source.
;
