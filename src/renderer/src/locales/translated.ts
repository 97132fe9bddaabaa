/** The same keys, each with some text. */
export type Translated<T> = { [K in keyof T]: T[K] extends string ? string : Translated<T[K]> }
