; Stands in place of QEMU's firmware: opens A20 and goes to the kernel at 0x8000. 64 KiB ending in the reset vector.
bits 16
org 0
begin:
  mov al, 2
  out 0x92, al
  jmp 0:0x8000
times 0xfff0 - ($ - $$) db 0xf4
  jmp 0xf000:begin
times 0x10000 - ($ - $$) db 0
