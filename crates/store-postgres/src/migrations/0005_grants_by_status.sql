-- oldest code: 1
-- without a transaction
DROP INDEX CONCURRENTLY IF EXISTS grants_by_status;
CREATE INDEX CONCURRENTLY grants_by_status ON grants (status_index) WHERE status_index IS NOT NULL;
