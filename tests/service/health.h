// Health checks by bytes: Debian packages no header of grpc.health.v1.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace haarflow::testing {

// grpc.health.v1.Health/Check: 1 SERVING, 2 NOT_SERVING, or minus the status code.
inline int CheckHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  std::string request;  // HealthCheckRequest { string service = 1; }
  if (!service.empty()) request = absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
  const grpc::Slice slice(request);
  grpc::ByteBuffer in(&slice, 1);
  grpc::ByteBuffer out;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  std::promise<grpc::Status> done;
  grpc::GenericStub stub(channel);
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &in, &out,
                 [&done](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  if (!status.ok()) return -static_cast<int>(status.error_code());
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(out.Dump(&slices).ok());
  return !slices.empty() && slices[0].size() == 2 ? slices[0].begin()[1] : 0;  // status = 1
}

}  // namespace haarflow::testing
