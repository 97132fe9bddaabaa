/** A file that is no kernel: which, why, and what one is. */
export const kernelAdvice = (path: string, why: string): string => `${path}: ${why}. A Linux bzImage is needed, such as /boot/vmlinuz-6.1.0-18-amd64 of a Debian system.`
