; Registers of the platform's devices in fixed sequences: what is written, read back, latched and refused. Here nothing depends on time.
; Intel 8259A, 8254, 82093AA; Motorola MC146818; National 16550D; IBM PS/2 i8042; IA-PC HPET 1.0a; SDM vol. 3, chapter 11.
%include "protected.inc"
HPET equ 0xfed00000
LAPIC equ 0xfee00000
IOAPIC equ 0xfec00000
START
main:
  ENTER32
  call pic
  call uart
  call rtc
  call pit
  call keyboard
  call mouse
  call hpet
  call lapic
  call ioapic
  jmp exit32

bits 32
%macro LINE 1
  PS %strcat(%1, ":")
%endmacro
%macro SPACE 0
  mov al, ' '
  out PORT_LOG, al
%endmacro
%macro WR 2 ; port, byte
  mov edx, %1
  mov al, %2
  out dx, al
%endmacro
%macro RD 1-2 0xff ; port, bits that count
  SPACE
  mov edx, %1
  in al, dx
  and al, %2
  movzx eax, al
  PX eax, 2
%endmacro
%macro MW 2 ; address, dword
  mov dword [%1], %2
%endmacro
%macro MR 1-2 0xffffffff
  SPACE
  mov ebx, [%1]
  and ebx, %2
  PX ebx, 8
%endmacro

%define PIC1 0x20
%define PIC2 0xa0
pic:
  LINE "pic, initialised"
  WR PIC1, 0x11
  WR PIC1 + 1, 0x20
  WR PIC1 + 1, 4
  WR PIC1 + 1, 1
  WR PIC2, 0x11
  WR PIC2 + 1, 0x28
  WR PIC2 + 1, 2
  WR PIC2 + 1, 1
  RD PIC1 + 1
  RD PIC2 + 1
  ENDROW
  LINE "pic, masks"
  WR PIC1 + 1, 0xff
  WR PIC2 + 1, 0xa5
  RD PIC1 + 1
  RD PIC2 + 1
  WR PIC2 + 1, 0xff
  RD PIC2 + 1
  ENDROW
  LINE "pic, in service and requested"
  WR PIC1, 0x0b
  RD PIC1
  WR PIC2, 0x0b
  RD PIC2
  WR PIC1, 0x0a
  RD PIC1, 0xfa
  WR PIC2, 0x0a
  RD PIC2, 0xfe
  ENDROW
  LINE "pic, poll"
  WR PIC2, 0x0c
  RD PIC2
  RD PIC2 + 1
  ENDROW
  LINE "pic, edge and level"
  RD 0x4d0
  RD 0x4d1
  WR 0x4d0, 0xff
  WR 0x4d1, 0xff
  RD 0x4d0
  RD 0x4d1
  WR 0x4d0, 0
  WR 0x4d1, 0
  RD 0x4d0
  ENDROW
  ret

%define COM 0x3f8
%macro ALL_OF_UART 0 ; but the data
  RD COM + 1
  RD COM + 2
  RD COM + 3
  RD COM + 4
  RD COM + 5
  RD COM + 7
%endmacro
uart:
  LINE "uart, as after reset"
  ALL_OF_UART
  RD COM + 6, 0x0f
  ENDROW
  LINE "uart, what can be written"
  WR COM + 1, 0xff
  WR COM + 3, 0x7f
  WR COM + 4, 0xff
  WR COM + 7, 0x5a
  RD COM + 1
  RD COM + 3
  RD COM + 4
  RD COM + 7
  WR COM + 1, 0
  WR COM + 3, 3
  WR COM + 4, 0
  ENDROW
  LINE "uart, divisor"
  WR COM + 3, 0x83
  RD COM
  RD COM + 1
  WR COM, 0x34
  WR COM + 1, 0x12
  RD COM
  RD COM + 1
  WR COM, 1
  WR COM + 1, 0
  WR COM + 3, 3
  RD COM + 1
  ENDROW
  LINE "uart, modem lines looped back"
  WR COM + 4, 0x10
  RD COM + 6, 0xf0
  WR COM + 4, 0x1f
  RD COM + 6, 0xf0
  WR COM + 4, 0x15
  RD COM + 6, 0xf0
  WR COM + 4, 0x1a
  RD COM + 6, 0xf0
  WR COM + 4, 0
  ENDROW
  LINE "uart, fifo"
  WR COM + 2, 1
  RD COM + 2
  WR COM + 2, 0xc7
  RD COM + 2
  WR COM + 2, 0
  RD COM + 2
  ENDROW
  LINE "uart, transmitter empty"
  WR COM + 1, 2
  RD COM + 2
  RD COM + 2
  WR COM + 1, 0
  RD COM + 2
  ENDROW
  ret

%macro CMOS_WR 2
  WR 0x70, %1
  WR 0x71, %2
%endmacro
%macro CMOS_RD 1-2 0xff
  WR 0x70, %1
  RD 0x71, %2
%endmacro
rtc:
  LINE "rtc, control"
  CMOS_RD 0x0a, 0x7f
  CMOS_RD 0x0b
  CMOS_RD 0x0d
  ENDROW
  LINE "rtc, index is not read"
  RD 0x70
  ENDROW
  LINE "rtc, time that is set"
  CMOS_WR 0x0b, 0x82
  CMOS_WR 0, 0x58
  CMOS_WR 2, 0x59
  CMOS_WR 4, 0x23
  CMOS_WR 6, 5
  CMOS_WR 7, 0x29
  CMOS_WR 8, 0x02
  CMOS_WR 9, 0x24
  CMOS_RD 0
  CMOS_RD 2
  CMOS_RD 4
  CMOS_RD 7
  CMOS_RD 8
  CMOS_RD 9
  CMOS_RD 0x0b
  ENDROW
  LINE "rtc, and runs on, in binary and by 12 hours"
  CMOS_WR 0x0b, 0x02
  CMOS_RD 2
  CMOS_RD 4
  CMOS_WR 0x0b, 0x06
  CMOS_RD 2
  CMOS_RD 4
  CMOS_RD 7
  CMOS_RD 9
  CMOS_WR 0x0b, 0x04
  CMOS_RD 4
  CMOS_WR 0x0b, 0x00
  CMOS_RD 4
  CMOS_WR 0x0b, 0x02
  ENDROW
  LINE "rtc, alarm and memory"
  CMOS_WR 1, 0xc0
  CMOS_WR 3, 0x11
  CMOS_WR 5, 0x12
  CMOS_WR 0x40, 0xa5
  CMOS_WR 0x7f, 0x5a
  CMOS_RD 1
  CMOS_RD 3
  CMOS_RD 5
  CMOS_RD 0x40
  CMOS_RD 0x7f
  CMOS_RD 0xc0
  ENDROW
  LINE "rtc, status cannot be written"
  CMOS_WR 0x0d, 0
  CMOS_RD 0x0d
  CMOS_RD 0x0c, 0
  CMOS_WR 0x0c, 0xff
  CMOS_RD 0x0c, 0xa0
  ENDROW
  LINE "rtc, rates"
  CMOS_WR 0x0a, 0xaf
  CMOS_RD 0x0a, 0x7f
  CMOS_WR 0x0a, 0x26
  CMOS_RD 0x0a, 0x7f
  ENDROW
  ret

%macro PIT_STATUS 1 ; channel
  WR 0x43, 0xe0 | (2 << %1)
  RD 0x40 + %1
%endmacro
; The third counter stands still while its gate is low.
pit:
  LINE "pit, speaker port"
  WR 0x61, 0
  RD 0x61, 0x0f
  WR 0x61, 2
  RD 0x61, 0x0f
  WR 0x61, 0
  ENDROW
  LINE "pit, control word"
  WR 0x43, 0xb0
  PIT_STATUS 2
  WR 0x43, 0xb6
  PIT_STATUS 2
  WR 0x43, 0x96
  PIT_STATUS 2
  WR 0x43, 0xa4
  PIT_STATUS 2
  WR 0x43, 0xb9
  PIT_STATUS 2
  ENDROW
  LINE "pit, count held by the gate"
  WR 0x43, 0xb0
  WR 0x42, 0x34
  WR 0x42, 0x12
  PIT_STATUS 2
  RD 0x42
  RD 0x42
  WR 0x43, 0x80
  RD 0x42
  RD 0x42
  RD 0x61, 0x20
  ENDROW
  LINE "pit, low and high byte alone"
  WR 0x43, 0x90
  WR 0x42, 0x56
  RD 0x42
  RD 0x42
  WR 0x43, 0xa0
  WR 0x42, 0x78
  RD 0x42
  RD 0x42
  ENDROW
  LINE "pit, latch of status and count"
  WR 0x43, 0xb0
  WR 0x42, 0xcd
  WR 0x42, 0xab
  WR 0x43, 0xc8
  RD 0x42
  RD 0x42
  RD 0x42
  RD 0x42
  ENDROW
  ret

; The i8042's answers are there at once, in QEMU as here. QEMU's bit 3 of the status is always set: it has a line of its own.
%define KBD 0x60
%define CTL 0x64
%macro ANSWERS 1 ; bytes that are to come, then the status
%rep %1
  RD CTL, 0x21
  RD KBD
%endrep
  RD CTL, 0xf7
%endmacro
%macro COMMAND 2 ; of the controller, answers
  WR CTL, %1
  ANSWERS %2
%endmacro
%macro CONFIG 1
  WR CTL, 0x60
  WR KBD, %1
%endmacro
%macro KEYBOARD 2
  WR KBD, %1
  ANSWERS %2
%endmacro
keyboard:
  LINE "i8042, status"
  RD CTL
  ENDROW
  LINE "i8042, status tells a command from data"
  WR CTL, 0xae
  RD CTL
  WR CTL, 0x60
  WR KBD, 0x45
  RD CTL
  ENDROW
  LINE "i8042, self-test"
  COMMAND 0xaa, 1
  ENDROW
  LINE "i8042, tests of the ports"
  COMMAND 0xab, 1
  COMMAND 0xa9, 1
  ENDROW
  LINE "i8042, configuration"
  CONFIG 0x34
  COMMAND 0x20, 1
  CONFIG 0x44
  COMMAND 0x20, 1
  ENDROW
  LINE "i8042, ports off and on"
  WR CTL, 0xa7
  WR CTL, 0xad
  COMMAND 0x20, 1
  WR CTL, 0xa8
  WR CTL, 0xae
  COMMAND 0x20, 1
  ENDROW
  LINE "i8042, bytes of its own"
  WR CTL, 0xd2
  WR KBD, 0x5a
  ANSWERS 1
  WR CTL, 0xd3
  WR KBD, 0xa5
  ANSWERS 1
  ENDROW
  LINE "i8042, output port"
  COMMAND 0xd0, 1
  WR CTL, 0xd1
  WR KBD, 0x01
  COMMAND 0xd0, 1
  WR CTL, 0xd1
  WR KBD, 0x03
  COMMAND 0xd0, 1
  ENDROW
  LINE "keyboard, reset"
  KEYBOARD 0xff, 2
  ENDROW
  LINE "keyboard, identity, translated and raw"
  KEYBOARD 0xf2, 3
  CONFIG 0x04
  KEYBOARD 0xf2, 3
  ENDROW
  LINE "keyboard, echo"
  KEYBOARD 0xee, 1
  ENDROW
  LINE "keyboard, scan code sets"
  KEYBOARD 0xf0, 1
  KEYBOARD 0x00, 2
  KEYBOARD 0xf0, 1
  KEYBOARD 0x01, 1
  KEYBOARD 0xf0, 1
  KEYBOARD 0x00, 2
  KEYBOARD 0xf0, 1
  KEYBOARD 0x02, 1
  ENDROW
  LINE "keyboard, lights and rate"
  KEYBOARD 0xed, 1
  KEYBOARD 0x07, 1
  KEYBOARD 0xf3, 1
  KEYBOARD 0x20, 1
  ENDROW
  LINE "keyboard, on and off"
  KEYBOARD 0xf5, 1
  KEYBOARD 0xf4, 1
  KEYBOARD 0xf6, 1
  ENDROW
  LINE "keyboard, no command"
  KEYBOARD 0x81, 1
  ENDROW
  CONFIG 0x44
  ret

%macro MOUSE 2
  WR CTL, 0xd4
  WR KBD, %1
  ANSWERS %2
%endmacro
mouse:
  LINE "mouse, reset"
  MOUSE 0xff, 3
  ENDROW
  LINE "mouse, identity and status"
  MOUSE 0xf2, 2
  MOUSE 0xe9, 4
  ENDROW
  LINE "mouse, resolution, rate, scaling, reporting"
  MOUSE 0xe8, 1
  MOUSE 0x03, 1
  MOUSE 0xf3, 1
  MOUSE 0x28, 1
  MOUSE 0xe7, 1
  MOUSE 0xf4, 1
  MOUSE 0xe9, 4
  MOUSE 0xf5, 1
  ENDROW
  LINE "mouse, wheel"
  MOUSE 0xf3, 1
  MOUSE 200, 1
  MOUSE 0xf3, 1
  MOUSE 100, 1
  MOUSE 0xf3, 1
  MOUSE 80, 1
  MOUSE 0xf2, 2
  ENDROW
  LINE "mouse, echo"
  MOUSE 0xee, 1
  MOUSE 0x55, 1
  MOUSE 0xec, 1
  ENDROW
  LINE "mouse, packet asked for"
  MOUSE 0xf0, 1
  MOUSE 0xeb, 5
  MOUSE 0xea, 1
  ENDROW
  LINE "mouse, defaults"
  MOUSE 0xf6, 1
  MOUSE 0xe9, 4
  ENDROW
  ret

hpet:
  LINE "hpet, as after reset"
  MR HPET
  MR HPET + 4
  MR HPET + 0x10
  MR HPET + 0x20
  MR HPET + 0xf0
  MR HPET + 0xf4
  ENDROW
%assign n 0
%rep 3
%defstr number n
  LINE %strcat("hpet, timer ", number)
  MR HPET + 0x100 + n * 0x20, ~0xf0
  MR HPET + 0x108 + n * 0x20
  MR HPET + 0x10c + n * 0x20
  MW HPET + 0x100 + n * 0x20, 0xffffbfbd ; edge, 64 bits
  MR HPET + 0x100 + n * 0x20, 0xffff01ff
  MW HPET + 0x108 + n * 0x20, 0x89abcdef
  MW HPET + 0x10c + n * 0x20, 0x01234567
  MR HPET + 0x108 + n * 0x20
  MR HPET + 0x10c + n * 0x20
  MW HPET + 0x100 + n * 0x20, 0x100
  MR HPET + 0x100 + n * 0x20, ~0xf0
  MW HPET + 0x100 + n * 0x20, 0
  ENDROW
%assign n n + 1
%endrep
  LINE "hpet, counter while halted"
  MW HPET + 0xf0, 0xfffffff0
  MW HPET + 0xf4, 0x12
  MR HPET + 0xf0
  MR HPET + 0xf4
  MW HPET + 0xf0, 0
  MW HPET + 0xf4, 0
  ENDROW
  LINE "hpet, configuration"
  MW HPET + 0x10, 0xfffffffe
  MR HPET + 0x10
  MW HPET + 0x10, 0
  MR HPET + 0x10
  MW HPET + 0x14, 1
  MR HPET + 0x14
  ENDROW
  LINE "hpet, what cannot be written"
  MW HPET, 0
  MR HPET
  MW HPET + 4, 0
  MR HPET + 4
  ENDROW
  LINE "hpet, reserved"
  MR HPET + 0x08
  MR HPET + 0x28
  MR HPET + 0x160
  ENDROW
  ret

%macro KEPT 3 ; register, value, bits that count
  MW LAPIC + %1, %2
  MR LAPIC + %1, %3
%endmacro
lapic:
  LINE "lapic, as after reset"
  MR LAPIC + 0x20
  MR LAPIC + 0x80
  MR LAPIC + 0xa0
  MR LAPIC + 0xd0
  MR LAPIC + 0xe0
  MR LAPIC + 0xf0
  MR LAPIC + 0x280
  MR LAPIC + 0x320
  MR LAPIC + 0x330
  MR LAPIC + 0x340
  MR LAPIC + 0x350
  MR LAPIC + 0x360
  MR LAPIC + 0x370
  MR LAPIC + 0x380
  MR LAPIC + 0x390
  MR LAPIC + 0x3e0
  ENDROW
  LINE "lapic, masked while it is off"
  KEPT 0x320, 0x20, -1
  KEPT 0x350, 0x700, -1
  ENDROW
  LINE "lapic, on"
  KEPT 0xf0, 0x1ff, -1
  ENDROW
  LINE "lapic, priorities"
  KEPT 0x80, 0x45, -1
  MR LAPIC + 0xa0
  KEPT 0x80, 0, -1
  ENDROW
  LINE "lapic, logical destination"
  KEPT 0xd0, 0x5affffff, -1
  KEPT 0xe0, 0x0fffffff, -1
  KEPT 0xe0, 0xffffffff, -1
  ENDROW
  LINE "lapic, local vectors"
  KEPT 0x320, 0x20020, -1
  KEPT 0x330, 0x10400, -1
  KEPT 0x340, 0x10400, -1
  KEPT 0x350, 0x18700, -1
  KEPT 0x360, 0x00400, -1
  KEPT 0x370, 0x100fe, -1
  KEPT 0x320, 0x10020, -1
  ENDROW
  LINE "lapic, timer that stands"
  KEPT 0x3e0, 0x0b, -1
  KEPT 0x380, 0, -1
  MR LAPIC + 0x390
  ENDROW
  LINE "lapic, interrupt to itself"
  cli
  KEPT 0x310, 0x00000000, -1
  KEPT 0x300, 0x00040061, ~0x1000
  MR LAPIC + 0x230
  MR LAPIC + 0x130
  ENDROW
  LINE "lapic, errors"
  KEPT 0x280, 0, -1
  KEPT 0x300, 0x00040005, ~0x1000
  KEPT 0x280, 0, -1
  KEPT 0x280, 0, -1
  ENDROW
  LINE "lapic, registers that are only read"
  KEPT 0x30, 0, 0xff
  KEPT 0x390, 55, -1
  KEPT 0xa0, 55, -1
  MR LAPIC + 0x230
  ENDROW
  LINE "lapic, off again masks"
  KEPT 0xf0, 0xff, -1
  MR LAPIC + 0x320
  MR LAPIC + 0x350
  MR LAPIC + 0x370
  ENDROW
  ret

%macro IO_RD 1-2 0xffffffff
  MW IOAPIC, %1
  MR IOAPIC + 0x10, %2
%endmacro
%macro IO_WR 2
  MW IOAPIC, %1
  MW IOAPIC + 0x10, %2
%endmacro
ioapic:
  LINE "ioapic, as after reset"
  IO_RD 0
  IO_RD 1
  IO_RD 2
  IO_RD 0x10
  IO_RD 0x11
  IO_RD 0x3e
  IO_RD 0x3f
  ENDROW
  LINE "ioapic, index"
  MW IOAPIC, 0x12
  MR IOAPIC
  ENDROW
  LINE "ioapic, identity"
  IO_WR 0, 0xffffffff
  IO_RD 0
  IO_RD 2
  IO_WR 0, 0
  IO_WR 1, 0xffffffff
  IO_RD 1
  ENDROW
  LINE "ioapic, redirection"
  IO_WR 0x30, 0x0001afff
  IO_RD 0x30
  IO_WR 0x31, 0xffffffff
  IO_RD 0x31, 0xff000000
  IO_WR 0x30, 0x00010000
  IO_WR 0x31, 0
  IO_RD 0x30
  ENDROW
  LINE "ioapic, beyond the last pin"
  IO_RD 0x40
  ENDROW
  ret

PROTECTED_CODE
