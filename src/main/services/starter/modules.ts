/** Kernel modules: which ones are needed, in an order in which each finds what it depends on. */

export interface KernelModule {
  /** As its file is named, without the ending. */
  readonly name: string
  readonly data: Uint8Array
}

/** The kernel takes `-` and `_` in a module's name for the same. */
export const moduleKey = (name: string): string => name.replaceAll('-', '_')

const MARK = Buffer.from('\0depends=')

/** What a module says it needs: the field `depends` of its section `.modinfo`. */
export function dependencies(data: Uint8Array): string[] {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  const at = bytes.indexOf(MARK)
  if (at < 0) return []
  const start = at + MARK.length
  const end = bytes.indexOf(0, start)
  return bytes.toString('latin1', start, end < 0 ? bytes.length : end).split(',').filter((name) => name !== '')
}

/**
 * The wanted modules and all they need, the needed ones first.
 * @param load undefined for a module that is not there: it is built into the kernel
 */
export async function inLoadOrder(wanted: readonly string[], load: (name: string) => Promise<KernelModule | undefined>): Promise<KernelModule[]> {
  const ordered: KernelModule[] = []
  const seen = new Set<string>()
  const visit = async (name: string): Promise<void> => {
    if (seen.has(moduleKey(name))) return
    seen.add(moduleKey(name))
    const module = await load(name)
    if (!module) return
    for (const needed of dependencies(module.data)) await visit(needed)
    ordered.push(module)
  }
  for (const name of wanted) await visit(name)
  return ordered
}
