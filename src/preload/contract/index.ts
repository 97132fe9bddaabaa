/** The contract between the manager and its faces. */
export * from './calls'
export * from './errors'
export * from './messages'
export * from './payloads'
