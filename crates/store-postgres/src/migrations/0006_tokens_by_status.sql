-- oldest code: 1
-- for each partition of tokens without tokens_by_status
DROP INDEX CONCURRENTLY IF EXISTS {partition}_by_status;
CREATE INDEX CONCURRENTLY {partition}_by_status ON {partition} (status_index) WHERE status_index IS NOT NULL;
ALTER INDEX tokens_by_status ATTACH PARTITION {partition}_by_status;
