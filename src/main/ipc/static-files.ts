/** The built page over HTTP: files of one folder, with the headers that keep it in its box. */
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { extname, join, normalize, sep } from 'node:path'

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.json': 'application/json',
  '.svg': 'image/svg+xml', '.png': 'image/png', '.ico': 'image/x-icon', '.woff2': 'font/woff2', '.woff': 'font/woff',
}

/** 'unsafe-inline' styles only because xterm and Element Plus write style elements. */
export function contentSecurityPolicy(socketOrigins: readonly string[]): string {
  return [
    "default-src 'none'", "script-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data:", "font-src 'self' data:",
    `connect-src 'self' ${socketOrigins.join(' ')}`, "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
  ].join('; ')
}

/** The file a request names inside `root`, undefined where it would leave it. @param target path of the request, percent-encoded */
export function resolveStaticFile(root: string, target: string): string | undefined {
  let decoded: string
  try {
    decoded = decodeURIComponent(target.split(/[?#]/, 1)[0])
  } catch {
    return undefined
  }
  if (decoded.includes('\0') || decoded.includes('\\')) return undefined
  const file = normalize(join(root, decoded === '/' ? 'index.html' : decoded))
  return file.startsWith(normalize(root) + sep) ? file : undefined
}

export async function serveStatic(root: string, policy: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const end = (status: number, type: string, body: Uint8Array | string): void => {
    response.writeHead(status, {
      'content-type': type, 'content-security-policy': policy, 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer', 'cross-origin-opener-policy': 'same-origin', 'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'no-cache',
    })
    response.end(request.method === 'HEAD' ? undefined : body)
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return end(405, 'text/plain', 'only GET')
  // Every browser asks for it; an error would be all there is in its log.
  if (request.url === '/favicon.ico') return end(204, 'image/x-icon', '')
  const file = resolveStaticFile(root, request.url ?? '/')
  const body = file === undefined ? undefined : await readFile(file).catch(() => undefined)
  if (file === undefined || body === undefined) return end(404, 'text/plain', 'not found')
  end(200, CONTENT_TYPES[extname(file)] ?? 'application/octet-stream', body)
}
