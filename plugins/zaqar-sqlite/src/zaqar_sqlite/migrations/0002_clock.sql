-- Availability is judged by the host's clock alone: due_at, expires_at, ends_at, forget_at.
-- seen: what that clock said at the latest write that depended on it. position_offset: positions follow the host's clock
-- plus this; it grows by as much as the clock is set back, so that positions never go back.
ALTER TABLE state RENAME COLUMN clock TO seen;
ALTER TABLE state ADD COLUMN position_offset INTEGER NOT NULL DEFAULT 0;

-- A position is no longer in milliseconds but 100 000 times as fine, so that messages that are released together, with a
-- delay, keep their order: they become available in one millisecond, and end the one before it, in order. What was stored
-- before comes before what is stored from here on, except what is still to become available: that is converted.
UPDATE messages SET position = (position - 1) * 100000 + 1 WHERE state = 2 AND queue IN (SELECT id FROM queues);
