// haarflow report: hands over to the Python package. Its help is here: it is to be had before the package is installed.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "core/base/status.h"

extern char** environ;

namespace haarflow {
namespace {

// The options of client/python/haarflow/__main__.py; client/python/tests/test_report.py compares the two.
constexpr char kHelp[] =
    R"(Makes one self-contained HTML page: histories, histograms against exact curves, autocorrelation, weights, and a verdict
in words. Made by the Python package haarflow: python3 -m pip install 'SOURCE/client/python[report]'.
Usage: haarflow [OPTIONS] report [REPORT OPTIONS] FILE|MODEL

  FILE|MODEL                  a file of `haarflow sample` (HDF5, npy, ILDG, NERSC), or the name of a model to draw from
  -h, --help                  Print this help message and exit
  -o, --output HTML           the page; default: the subject's name with .html, in this directory
  --png DIRECTORY             write the figures as PNG files too
  --json                      one JSON document on stdout, errors too
Models:
  -n, --count N               chain steps or proposals to draw (10000)
  --seed N                    64 bits; the server's choice when not given
  --set NAME=VALUE            another parameter of the theory; may be repeated
  --mode MODE                 metropolis (default) or reweighted
  --observables a,b,...       default: the usual ones of the theory
The server:
  --server ADDRESS            host:port or unix:/path; else $HAARFLOW_SERVER
  --token-file FILE           file with a token; else $HAARFLOW_TOKEN_FILE, or what `haarflow login` keeps
  --tls                       TLS with the system's authorities
  --tls-ca FILE               TLS with the authorities of this PEM file
  --tls-cert FILE             PEM certificate to show
  --tls-key FILE              PEM key of that certificate
)";

bool WantsHelp(const std::vector<std::string>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [](const std::string& word) { return word == "--help" || word == "-h"; });
}

std::vector<char*> Pointers(std::vector<std::string>* words) {
  std::vector<char*> argv;
  for (std::string& word : *words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return argv;
}

// Whether `python` runs and has the package (a folder of that name in the working directory is none).
bool HasPackage(const std::string& python) {
  std::vector<std::string> words = {python, "-c",
                                    "import importlib.util, sys; spec = importlib.util.find_spec('haarflow'); "
                                    "sys.exit(spec is None or spec.origin is None)"};
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, python.c_str(), &quiet, nullptr, Pointers(&words).data(), environ);
  posix_spawn_file_actions_destroy(&quiet);
  if (failed != 0) return false;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// The connection as this program was told it, in the words of the Python command, and what the user wrote.
std::vector<std::string> ReportArguments(const Globals& globals, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"report", "--server", globals.server};
  for (const auto& [option, value] :
       {std::pair("--token-file", &globals.token_file), std::pair("--tls-ca", &globals.tls_ca),
        std::pair("--tls-cert", &globals.tls_cert), std::pair("--tls-key", &globals.tls_key)}) {
    if (!value->empty()) words.insert(words.end(), {option, *value});
  }
  if (globals.tls) words.push_back("--tls");
  if (globals.json) words.push_back("--json");
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

// Becomes the program; returns when there is none such. An interrupt is the program's own matter again
// (client/interrupt.cc blocks and ignores signals, which a program inherits).
void Execute(std::vector<std::string> program, const std::vector<std::string>& arguments) {
  program.insert(program.end(), arguments.begin(), arguments.end());
  sigset_t none, before;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, &before);
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
  ::execvp(program[0].c_str(), Pointers(&program).data());
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_IGN);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

absl::StatusOr<ExitCode> RunReport(const Globals& globals, const std::vector<std::string>& arguments) {
  if (WantsHelp(arguments)) {
    std::fputs(kHelp, stdout);
    return kExitOk;
  }
  const std::vector<std::string> words = ReportArguments(globals, arguments);
  const char* named = std::getenv("HAARFLOW_PYTHON");
  const bool has_name = named != nullptr && *named != '\0';
  const std::string python = has_name ? named : "python3";
  // A package in an environment of its own has its script in the PATH, not its Python.
  if (!has_name) Execute({"haarflow-py"}, words);
  if (HasPackage(python)) Execute({python, "-m", "haarflow"}, words);
  return WithExitCode(
      absl::FailedPreconditionError(absl::StrCat(
          "reports are made by the Python package haarflow, which ", has_name ? "$HAARFLOW_PYTHON " : "", "(", python,
          ") does not have: python3 -m pip install 'SOURCE/client/python[report]', SOURCE being haarflow's "
          "source tree, or name another interpreter in $HAARFLOW_PYTHON")),
      kExitLocalFile);
}

}  // namespace haarflow
