/** The file's name, of a path of any system. */
export const fileName = (path: string): string => path.split(/[\\/]/).pop() ?? path
