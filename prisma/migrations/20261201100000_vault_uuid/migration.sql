-- What a vault says of itself (firn-vault.json): by it another disk at the same place is told from it. Of vaults that an older version
-- made it is unknown until they are written again.
ALTER TABLE "vault" ADD COLUMN "uuid" UUID;
