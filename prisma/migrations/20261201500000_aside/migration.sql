-- Sources that are being removed under another name, because nobody could be kept from opening them: what a killed removal leaves is put back.
CREATE TABLE "aside" (
  "host" INTEGER NOT NULL,
  "path" BYTEA NOT NULL,
  "aside" BYTEA NOT NULL,
  "owner" TEXT NOT NULL,
  CONSTRAINT "aside_host_fkey" FOREIGN KEY ("host") REFERENCES "host" ("number")
);
CREATE UNIQUE INDEX "aside_key" ON "aside" ("host", sha256("aside"));
