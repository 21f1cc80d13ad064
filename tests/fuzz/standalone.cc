// A fuzz target without libFuzzer, for any compiler: every file of a corpus first, then mutations of those files for so
// long. Nothing guides the mutations and they are the same in every run; clang's own (tests/fuzz/run.sh) are guided.
//
//   NAME_fuzz [--seconds 30] [--findings DIR] FILE|DIRECTORY...
//
// An input that aborts, crashes, or takes 20 s is left in DIR: give that file to the target to reproduce it.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

namespace fs = std::filesystem;
constexpr unsigned kMostSeconds = 20;     // of one input
constexpr size_t kMostBytes = 1 << 16;    // of a mutation
constexpr rlim_t kMostMemory = 2u << 30;  // what is bounded before it is allocated stays far below

// For the signal handler.
std::string current;
std::string finding;

extern "C" void OnSignal(int signal) {
  const int file = ::open(finding.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file >= 0 && ::write(file, current.data(), current.size()) >= 0) ::close(file);
  constexpr char kMessage[] = "a finding: the input lies beside --findings\n";
  if (::write(2, kMessage, sizeof kMessage - 1) < 0) ::_exit(2);
  ::signal(signal, SIG_DFL);
  ::raise(signal == SIGALRM ? SIGABRT : signal);
}

void Try(const std::string& input) {
  current = input;
  ::alarm(kMostSeconds);
  // A copy of just its size: a read beyond it is one that AddressSanitizer sees.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  ::alarm(0);
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>* seeds) : seeds_(seeds) {}
  std::string Next() {
    std::string bytes = Seed();
    for (uint64_t n = 1 + Below(5); n > 0; --n) Change(&bytes);
    bytes.resize(std::min(bytes.size(), kMostBytes));
    return bytes;
  }

 private:
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : random_() % n; }
  const std::string& Seed() { return (*seeds_)[Below(seeds_->size())]; }
  std::string Piece(const std::string& from) {
    const size_t begin = Below(from.size() + 1);
    return from.substr(begin, Below(std::min<size_t>(from.size() - begin, 64) + 1));
  }
  void Overwrite(std::string* bytes, const std::string& with) {
    const size_t at = Below(bytes->size() + 1);
    bytes->replace(at, std::min(with.size(), bytes->size() - at), with);
  }
  // Of numbers in files: ends of ranges, in either order of bytes.
  std::string Binary() {
    static constexpr uint64_t kNumbers[] = {
        0, 1, 7, 8, 255, 256, 0x7FFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1ull << 40, 1ull << 62, ~0ull, ~0ull >> 1};
    uint64_t number = kNumbers[Below(std::size(kNumbers))];
    std::string text(reinterpret_cast<const char*>(&number), sizeof number);
    text.resize(size_t{1} << Below(4));
    if (Below(2) == 0) std::reverse(text.begin(), text.end());
    return text;
  }
  std::string Text() {
    static constexpr const char* kWords[] = {"0",
                                             "-1",
                                             "18446744073709551616",
                                             "9223372036854775807",
                                             "1e999",
                                             "nan",
                                             "-inf",
                                             "\"",
                                             "{",
                                             "}",
                                             "[",
                                             "]",
                                             "\\u0000",
                                             "\n",
                                             ":",
                                             "null",
                                             "true",
                                             "4294967296",
                                             "0.5",
                                             ","};
    return kWords[Below(std::size(kWords))];
  }
  void Change(std::string* bytes) {
    const size_t at = Below(bytes->size() + 1);
    switch (Below(9)) {
      case 0:
        if (at < bytes->size()) (*bytes)[at] = static_cast<char>((*bytes)[at] ^ (1 << Below(8)));
        return;
      case 1:
        if (at < bytes->size()) (*bytes)[at] = static_cast<char>(Below(256));
        return;
      case 2:
        bytes->erase(at, 1 + Below(16));
        return;
      case 3:
        bytes->insert(at, Piece(*bytes));
        return;
      case 4:
        bytes->insert(at, Piece(Seed()));
        return;
      case 5:
        Overwrite(bytes, Binary());
        return;
      case 6:
        Below(2) == 0 ? Overwrite(bytes, Text()) : void(bytes->insert(at, Text()));
        return;
      case 7:
        bytes->resize(at);
        return;
      default: {  // the rest of another
        const std::string& other = Seed();
        bytes->resize(at);
        bytes->append(other, Below(other.size() + 1), std::string::npos);
      }
    }
  }

  const std::vector<std::string>* const seeds_;
  std::mt19937_64 random_{1};
};

std::vector<fs::path> FilesOf(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 0;
  std::string findings = ".";
  std::vector<std::string> seeds = {""};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (argument == "--findings" && i + 1 < argc) {
      findings = argv[++i];
    } else {
      for (const fs::path& file : FilesOf(argument)) {
        std::ifstream in(file, std::ios::binary);
        if (!in) return std::fprintf(stderr, "%s cannot be read\n", file.c_str()), 2;
        seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
      }
    }
  }
  fs::create_directories(findings);
  finding = findings + "/" + fs::path(argv[0]).filename().string() + "-finding";
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they map terabytes
  const rlimit memory{kMostMemory, kMostMemory};
  ::setrlimit(RLIMIT_AS, &memory);
#endif
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) ::signal(signal, OnSignal);
  for (const std::string& seed : seeds) Try(seed);
  Mutator mutator(&seeds);
  uint64_t tried = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (; std::chrono::steady_clock::now() < end; ++tried) Try(mutator.Next());
  std::printf("%zu inputs of the corpus, %llu mutations: clean\n", seeds.size(),
              static_cast<unsigned long long>(tried));
  return 0;
}
