-- oldest code: 1
-- How much of the revocation log the node had applied when it last said so.
ALTER TABLE nodes ADD COLUMN applied_epoch bigint, ADD COLUMN applied_position bigint;
