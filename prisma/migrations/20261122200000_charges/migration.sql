-- What an item was charged for the thaw that it is asking for; empty again once the vault said that it thaws. Who is killed in between
-- is followed by one who asks again, and charges nothing again.
ALTER TABLE "item" ADD COLUMN "charge_usd" DOUBLE PRECISION;
