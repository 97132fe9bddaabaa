/** The contract between the manager and everything that talks to it: calls, events, payloads, errors. Imports zod only. */
export * from './calls'
export * from './channels'
export * from './console'
export * from './errors'
export * from './events'
export * from './machine'
export * from './task'
export * from './wire'
