/* SPDX-License-Identifier: Apache-2.0 */
/* The options before the verb. Everything from the verb on is the daemon's to read. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"

static const char HELP[] =
    "Usage: pyrt [OPTIONS] COMMAND [ARG...]\n"
    "\n"
    "Options before the command:\n"
    "  -H, --host ADDRESS    talk to the daemon at unix:///PATH or tcp://HOST:PORT (PYRT_HOST)\n"
    "      --run-dir DIR     talk to the daemon whose sockets are here (PYRT_RUN_DIR, /run/pyrt)\n"
    "  -d, --daemon          be the daemon, in the foreground; -H may be repeated\n"
    "      --tls --tlscacert FILE --tlscert FILE --tlskey FILE\n"
    "                        authenticate both sides of tcp://\n"
    "For a daemon that is started (a command starts one where there is none):\n"
    "      --root DIR        keep images and containers here (PYRT_ROOT, /var/lib/pyrt)\n"
    "      --bridge NAME     use this bridge for the containers\n"
    "      --engine NAME     start containers with this engine: native or lxc (PYRT_ENGINE)\n"
    "  -D, --debug           log more\n"
    "\n"
    "'pyrt help' lists the commands and needs the daemon (root).\n";

/* What `pyrt --help` can say when there is no daemon to ask. */
void print_options(void)
{
    if (write(STDOUT_FILENO, HELP, sizeof HELP - 1) < 0)
        return;
}

enum option { HOST, ROOT, RUN_DIR, BRIDGE, ENGINE, TLS_CA, TLS_CERT, TLS_KEY, TLS, DAEMON, DEBUG, VALUES = TLS };

static const struct spelling {
    const char *text;
    enum option option;
} SPELLINGS[] = {
    {"-H", HOST}, {"--host", HOST}, {"--root", ROOT}, {"--run-dir", RUN_DIR}, {"--bridge", BRIDGE},
    {"--engine", ENGINE},
    {"--tlscacert", TLS_CA}, {"--tlscert", TLS_CERT}, {"--tlskey", TLS_KEY}, {"--tls", TLS},
    {"-d", DAEMON}, {"--daemon", DAEMON}, {"-D", DEBUG}, {"--debug", DEBUG},
};

static const struct spelling *look_up(const char *word, size_t length)
{
    for (size_t i = 0; i < sizeof SPELLINGS / sizeof *SPELLINGS; i++)
        if (strlen(SPELLINGS[i].text) == length && !memcmp(SPELLINGS[i].text, word, length))
            return &SPELLINGS[i];
    return NULL;
}

static void set(struct options *options, enum option option, const char *value)
{
    switch (option) {
    case HOST:
        if (options->host_count == MAX_HOSTS)
            fail("at most %d -H options", MAX_HOSTS);
        options->hosts[options->host_count++] = value;
        break;
    case ROOT: options->root = value; break;
    case RUN_DIR: options->run_dir = value; break;
    case BRIDGE: options->bridge = value; break;
    case ENGINE: options->engine = value; break;
    case TLS_CA: options->tls_ca = value; break;
    case TLS_CERT: options->tls_cert = value; break;
    case TLS_KEY: options->tls_key = value; break;
    case TLS: options->tls = 1; break;
    case DAEMON: options->daemon = 1; break;
    case DEBUG: options->debug = 1; break;
    }
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static void fill_in(struct options *options)
{
    const char *host = variable("PYRT_HOST");
    if (!options->host_count && host)
        options->hosts[options->host_count++] = host;
    if (!options->root)
        options->root = variable("PYRT_ROOT");
    options->root_given = options->root != NULL;
    if (!options->root)
        options->root = "/var/lib/pyrt";
    if (!options->run_dir)
        options->run_dir = variable("PYRT_RUN_DIR");
    if (!options->run_dir)
        options->run_dir = "/run/pyrt";
    if (!options->daemon && options->host_count > 1)
        fail("a command goes to one daemon: give -H once");
}

/* Exits with one line where they make no sense. */
void parse_options(struct options *options, int argc, char **argv)
{
    int at = 1;
    while (at < argc && argv[at][0] == '-' && argv[at][1]) {
        const char *word = argv[at];
        if (!strcmp(word, "--")) {
            at++;
            break;
        }
        if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "--version") || !strcmp(word, "-v"))
            break; /* the daemon answers these like verbs */
        size_t length = strcspn(word, "=");
        const struct spelling *found = look_up(word, length);
        if (!found)
            fail("unknown option %.*s; see 'pyrt --help'", (int)(length < 200 ? length : 200), word);
        const char *value = word[length] ? word + length + 1 : NULL;
        if (found->option >= VALUES) {
            if (value)
                fail("option %s takes no value", found->text);
        } else if (!value) {
            if (++at == argc)
                fail("option %s needs a value; see 'pyrt --help'", found->text);
            value = argv[at];
        }
        if (value && !*value)
            fail("option %s needs a value that is not empty", found->text);
        set(options, found->option, value);
        at++;
    }
    options->verb = at;
    fill_in(options);
    if (options->daemon && at < argc) {
        if (strcmp(argv[at], "--help") && strcmp(argv[at], "-h"))
            fail("-d is the daemon and runs no command");
        print_options();
        _exit(0);
    }
}
