/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client, `pyrt`: what its files offer each other. In the order in which one command passes through them:
 *
 *   options.c   the options before the verb            answer.c    what the daemon asks for: variables, files
 *   address.c   where the daemon is, connecting        stream.c    the loop that moves every byte
 *   python.c    starting the daemon or a TLS relay     sink.c      stdout and stderr, without blocking
 *   call.c      the CALL frame                         terminal.c  raw mode, size, detach keys
 *   wire.c      a frame's header                       guard.c     gives the terminal back after kill -9
 *   copy.c      trees that are packed and unpacked     signals.c   signals that go to the container
 *   pack.c      (the former)                           landlock.c  keeps what unpacks in its directory
 *
 * It knows no verb. Being a program, it may print and exit: fail() does both.
 */
#ifndef PYRT_CLIENT_H
#define PYRT_CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <termios.h>

#include "frames.h"

#define CLIENT_FAILED 125 /* pyrt itself failed, as opposed to the command */
#define MAX_HOSTS 8

struct options {
    const char *hosts[MAX_HOSTS]; /* -H or PYRT_HOST; none: the default socket */
    int host_count;
    const char *root;
    int root_given; /* by --root or PYRT_ROOT: a daemon of another root is the wrong one */
    const char *run_dir;
    const char *bridge;
    const char *engine;
    const char *tls_ca, *tls_cert, *tls_key;
    int tls;
    int daemon;
    int debug;
    int verb; /* index in argv of the first word that is not ours */
};

enum transport { TRANSPORT_UNIX, TRANSPORT_TCP, TRANSPORT_RELAY };

struct address {
    enum transport transport;
    int may_start; /* nobody listens there: start a daemon */
    char path[4096];
    char host[256];
    char port[8];
};

/* client.c */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void say(const char *prefix, const char *text, size_t length);

/* options.c */
void parse_options(struct options *options, int argc, char **argv);
void print_options(void);

/* address.c */
void parse_address(struct address *address, const struct options *options);
int above_stdio(int fd);
int connect_unix(const char *path);
int connect_tcp(const struct address *address);

/* python.c */
void become_daemon(const struct options *options) __attribute__((noreturn));
int start_daemon(const struct options *options, char *reason, size_t reason_bytes);
int start_relay(const struct options *options);
const char *find_python(char *path, size_t path_bytes);

/* call.c: builds the payload at `data`; its length, or -E2BIG. root: the one the daemon must have, or NULL */
ssize_t build_call(unsigned char *data, size_t bytes, char *const *argv, const char *root, const int tty[3], int rows,
                   int columns);

/* wire.c: the only place that knows a header's bytes */
void wire_header(unsigned char *header, unsigned type, size_t length);
int wire_parse(const unsigned char *header, size_t *length);
void wire_put_u32(unsigned char *data, unsigned value);
unsigned wire_get_u32(const unsigned char *data);
uint64_t wire_get_u64(const unsigned char *data);

/* answer.c */
ssize_t answer_variables(unsigned char *data, size_t bytes, const char *names, size_t names_bytes, char *const *argv);
int open_source(const char *path, char *const *argv, char *reason, size_t reason_bytes);

/* copy.c */
struct copier {
    pid_t pid;     /* 0: there is none */
    int unpacks;   /* or packs */
    int fd;        /* the archive's: what is packed is read here, what is to be unpacked written; owned */
    int report_fd; /* owned */
    char subject[4096];
};
int copy_is_named(const char *path, char *const *argv);
int copy_pack(struct copier *copier, const char *path, unsigned flags, char *reason, size_t reason_bytes);
void copy_unpack(struct copier *copier, const char *path, unsigned flags);
int copy_end(struct copier *copier, char *reason, size_t reason_bytes);

/* pack.c */
void pack(const char *path, unsigned flags, int report_fd) __attribute__((noreturn));

/* landlock.c */
int landlock_confine(int directory_fd, const char **step);

/* terminal.c */
int terminal_size(int *rows, int *columns);
int terminal_raw(void);
void terminal_again(void);
void terminal_restore(void);
void terminal_pause(void);
int terminal_is_raw(void);
int terminal_give_back(const struct termios *saved_settings, const struct termios *raw_settings);

struct detach_keys {
    unsigned char bytes[PYRT_KEYS_MAX];
    size_t count;
    size_t held; /* so many of them were typed last, and wait for what comes next */
};
size_t terminal_keys(struct detach_keys *keys, unsigned char *data, size_t length, int *detach);

/* guard.c */
void guard_terminal(const struct termios *saved, const struct termios *raw);
void guard_end(void);

/* signals.c */
int signals_open(int forward, int terminal);
int signals_next(int fd);
void signals_die(int number) __attribute__((noreturn));
void signals_stop(void);

/* sink.c */
struct sink {
    int fd;      /* what is written to */
    int kind;    /* how it is kept from blocking */
    int stdio;   /* 1 or 2; 0: a pipe of our own, which never blocks */
};
void sink_init(struct sink *sink, int stdio);
void sink_pipe(struct sink *sink, int fd);
void sink_unblock(struct sink *sink);
#define SINK_BROKEN ((size_t)-1)
size_t sink_write(struct sink *sink, const void *data, size_t length);

/* stream.c: the status to exit with, or SERVE_AGAIN: the daemon went away without having read the call */
#define SERVE_AGAIN -1
int serve(int socket_fd, const unsigned char *call, size_t call_bytes, char *const *argv, int remote);

#endif
