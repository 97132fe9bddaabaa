/** Files and folders of the computer the manager runs on, for choosing a kernel, a disk or a place for an archive. */
import { z } from 'zod'

const path = z.string().min(1).max(4096)

export const folderEntry = z.object({
  name: z.string(),
  /** Absolute. */
  path: z.string(),
  isFolder: z.boolean(),
  /** Of files. */
  bytes: z.number().optional(),
})
export type FolderEntry = z.infer<typeof folderEntry>

export const folder = z.object({
  /** Absolute, without links. */
  path: z.string(),
  /** null at the top. */
  parent: z.string().nullable(),
  /** Folders first, then files, by name. Hidden ones are left out. */
  entries: z.array(folderEntry),
  /** There are more than were listed. */
  isCut: z.boolean(),
})
export type Folder = z.infer<typeof folder>

/** At most so many entries of a folder are listed. */
export const FOLDER_ENTRIES_MAX = 2000

export const pickRequest = z.object({
  mode: z.enum(['open', 'save']),
  title: z.string().max(200),
  /** Begins there: a file or a folder. */
  path: path.optional(),
  /** Without dot, such as `ova`; none: any file. */
  extensions: z.array(z.string().regex(/^[a-z0-9]{1,12}$/i)).max(16).optional(),
})
export type PickRequest = z.infer<typeof pickRequest>
