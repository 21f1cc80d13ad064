// A server's metrics, by a bare socket.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <string>

namespace haarflow::testing {

// The whole answer to an HTTP request, head and body; empty when nobody answers.
inline std::string HttpGet(const std::string& address, const std::string& path, const std::string& host = "127.0.0.1",
                           const std::string& method = "GET") {
  const size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const timeval timeout{.tv_sec = 20, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  const std::string request = method + " " + path + " HTTP/1.0\r\nHost: " + host + "\r\n\r\n";
  std::string response;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 &&
      write(fd, request.data(), request.size()) == static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    for (ssize_t n = 0; (n = read(fd, buffer, sizeof buffer)) > 0;) response.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return response;
}

// The body of GET /metrics; empty when nobody answers.
inline std::string Scrape(const std::string& address) {
  const std::string response = HttpGet(address, "/metrics");
  const size_t body = response.find("\r\n\r\n");
  return body == std::string::npos ? "" : response.substr(body + 4);
}

// Until so many calls wait, stream or upload.
inline void WaitForOpenCalls(const std::string& address, int calls) {
  const std::string line = "haarflow_open_calls " + std::to_string(calls) + "\n";
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (Scrape(address).find(line) == std::string::npos) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << line;
  }
}

}  // namespace haarflow::testing
