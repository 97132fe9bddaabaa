import { describe, expect, it, vi } from 'vitest'

vi.mock('electron', () => ({ protocol: {} }))
const { CONTENT_SECURITY_POLICY, resolveAppFile } = await import('./protocol')

describe('app protocol', () => {
  it('serves files below the build folder', () => {
    expect(resolveAppFile('/app/out/renderer', '/')).toBe('/app/out/renderer/index.html')
    expect(resolveAppFile('/app/out/renderer', '/assets/a%20b.js')).toBe('/app/out/renderer/assets/a b.js')
  })

  it.each(['/../main/index.cjs', '/%2e%2e/main/index.cjs', '/assets/..%2f..%2f..%2fetc/passwd', '/a%00.js', '/%zz', '/..'])(
    'refuses %s', (pathname) => expect(resolveAppFile('/app/out/renderer', pathname)).toBeUndefined(),
  )

  it('is not fooled by a sibling folder with the same beginning', () => {
    expect(resolveAppFile('/app/out/renderer', '/../renderer-evil/x.js')).toBeUndefined()
  })

  it('allows no inline or evaluated scripts', () => {
    expect(CONTENT_SECURITY_POLICY).toContain("default-src 'none'")
    expect(CONTENT_SECURITY_POLICY).toContain("script-src 'self';")
    expect(CONTENT_SECURITY_POLICY).not.toContain('unsafe-eval')
  })
})
