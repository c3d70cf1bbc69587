/** The name of the duty, in the catalog, of the one retriever that watches the vaults for everybody. */
export const RETRIEVER = 'retriever'
