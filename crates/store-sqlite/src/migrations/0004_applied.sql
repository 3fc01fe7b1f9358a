-- How much of the revocation log the node had applied when it last said so.
ALTER TABLE nodes ADD COLUMN applied_epoch INTEGER;
ALTER TABLE nodes ADD COLUMN applied_position INTEGER;
