# Holdfast. No configure step.
#
#   make                       everything, into build/
#   make units, make test      unit tests' programs; tests/run
#   make check                 reads the code: warnings, linters, style
#   make fuzz, make bench      fuzz targets; the figures
#   make settings              docs/settings.md and the example file
#   make install LIB=DIR       one folder with all that runs (no settings)
#   make V=1                   shows each command
#   make SANITIZE=address,undefined BUILD=build/asan CFLAGS='-O1 -g'

VERSION := 0.1.0

CC       ?= gcc
GUEST_CC ?= musl-gcc
BUILD    ?= build
SANITIZE ?=
LIB      ?=
V        ?=
Q        := $(if $(V),,@)

WARN   := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror
CFLAGS ?= -O2 -g
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
LDFLAGS ?= -Wl,-z,relro,-z,now
ifneq ($(SANITIZE),)
HARDEN := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
endif
LIBS   := json-c libcurl sqlite3 hiredis libcrypto libnftables libarchive
CPPFLAGS += -D_GNU_SOURCE -DHOLDFAST_VERSION='"$(VERSION)"' \
            $(shell pkg-config --cflags $(LIBS) 2>/dev/null)
LDLIBS := $(shell pkg-config --libs $(LIBS) 2>/dev/null) -lfcgi -lpthread
STD    := -std=c11 $(WARN) $(CFLAGS) $(HARDEN)

SRCS   := $(wildcard fcgi_workers/*/*.c)
OBJS   := $(SRCS:%.c=$(BUILD)/%.o)
LIBOBJ := $(filter-out %/parent/main.o,$(OBJS))
UNITS  := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,\
            $(wildcard tests/unit/test_*.c))

GUEST_SRCS := $(wildcard images/guest/*.c)
GUEST_FLAGS := -std=c11 $(WARN) -Os -static -D_GNU_SOURCE \
            -fno-stack-protector -ffunction-sections -Wl,--gc-sections -s

all: $(BUILD)/holdfastd $(BUILD)/guest module

$(BUILD)/holdfastd: $(OBJS)
	@echo '  link $@'
	$(Q)$(CC) $(HARDEN) $(LDFLAGS) -pie -o $@ $^ $(LDLIBS)

$(BUILD)/libholdfast.a: $(LIBOBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  cc   $<'
	$(Q)$(CC) $(STD) $(CPPFLAGS) -MMD -MP -c -o $@ $<

# Static and without any library but libc: it runs inside any image.
$(BUILD)/guest: $(GUEST_SRCS) $(wildcard images/guest/*.h)
	@mkdir -p $(@D)
	@echo '  cc   $@'
	$(Q)$(GUEST_CC) $(GUEST_FLAGS) -o $@ $(GUEST_SRCS)

$(BUILD)/unit/%: tests/unit/%.c tests/unit/test.h $(BUILD)/libholdfast.a
	@mkdir -p $(@D)
	@echo '  cc   $<'
	$(Q)$(CC) $(STD) $(CPPFLAGS) -Ifcgi_workers -Iimages/guest -o $@ $< \
	    $(BUILD)/libholdfast.a $(LDLIBS)

units: $(UNITS)

module: $(BUILD)/ngx_http_holdfast_module.so

$(BUILD)/ngx_http_holdfast_module.so: $(wildcard ngx_module/*) \
    fcgi_workers/common/line.c fcgi_workers/common/line.h \
    fcgi_workers/common/ticket.c fcgi_workers/common/ticket.h \
    fcgi_workers/common/frames.c fcgi_workers/common/frames.h \
    fcgi_workers/common/resp.c fcgi_workers/common/resp.h \
    fcgi_workers/common/err.c fcgi_workers/common/err.h \
    fcgi_workers/common/door.h
	+ngx_module/build $(abspath $(BUILD))

# What is made from settings_table.h and kept in the repository; tests/check
# says when it is out of date.
settings: $(BUILD)/holdfastd
	$(BUILD)/holdfastd settings --markdown > docs/settings.md
	$(BUILD)/holdfastd settings --example > \
	    lua-free-config/holdfast.conf.example

install: all
	@test -n "$(LIB)" || { echo "usage: make install LIB=DIR" >&2; exit 100; }
	HOLDFAST_BUILD=$(abspath $(BUILD)) ./install.sh --stage "$(LIB)"

fuzz:
	tests/fuzz/build

test:
	tests/run

bench: all
	tests/lib/engine start
	tests/bench/run && tests/bench/gate; s=$$?; tests/lib/engine stop; exit $$s

check:
	tests/check

clean:
	rm -rf $(BUILD)

-include $(OBJS:.o=.d)

.PHONY: all units module settings install fuzz test bench check clean
.DELETE_ON_ERROR:
