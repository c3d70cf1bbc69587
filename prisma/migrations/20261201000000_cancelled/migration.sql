-- A bundle of a set that was cancelled before it was stored.
ALTER TABLE "bundle" DROP CONSTRAINT "bundle_state_check";
ALTER TABLE "bundle" ADD CONSTRAINT "bundle_state_check"
  CHECK ("state" IN ('planned', 'packing', 'stored', 'failed', 'cancelled', 'missing', 'damaged'));
