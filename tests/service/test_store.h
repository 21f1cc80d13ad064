// A temporary store with small models that draw from their prior alone, and raw access to what tests cannot link:
// health checks by bytes, metrics by a socket.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/model/store.h"
#include "tests/service/scrape.h"

namespace haarflow::testing {

class TestStore {
 public:
  TestStore() {
    std::string pattern = (std::filesystem::temp_directory_path() / "haarflow-service-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    EXPECT_TRUE(ModelStore::Create(directory()).ok());
  }
  ~TestStore() { std::filesystem::remove_all(root_); }
  TestStore(const TestStore&) = delete;
  TestStore& operator=(const TestStore&) = delete;

  std::string directory() const { return root_ + "/store"; }
  std::string path(const std::string& name) const { return root_ + "/" + name; }
  ModelStore Open() const { return *ModelStore::Open(directory()); }

  Manifest Publish(const std::string& name, int extent, double beta, const v1::ModelCard& card = {},
                   bool make_champion = true) {
    const std::string spec =
        absl::StrCat("name: \"", name, "\" spec_version: 1 target { lattice { shape: ", extent, " shape: ", extent,
                     " } u1_wilson { beta: ", beta, " } } prior { uniform {} }");
    auto manifest = Open().Publish(spec, TensorMap(), card, make_champion);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    return manifest.ok() ? *manifest : Manifest();
  }
  // phi^4 on extent x extent, drawn from the free field of mass m2 = 1 and the target's normalisation: exact for lambda
  // = 0 and m2 = 1. `form` is a Phi4Action in text format.
  Manifest PublishFreeField(const std::string& name, int extent, const std::string& form) {
    const std::string spec =
        absl::StrCat("name: \"", name, "\" spec_version: 1 target { lattice { shape: ", extent, " shape: ", extent,
                     " } phi4 { ", form, " } } prior { free_field { m2: 1 } }");
    auto manifest = Open().Publish(spec, TensorMap(), v1::ModelCard(), /*make_champion=*/true);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    return manifest.ok() ? *manifest : Manifest();
  }
  // Changes a stored file behind the store's back.
  void Alter(const std::string& file) {
    std::ofstream(directory() + "/" + file, std::ios::binary | std::ios::app) << "x";
  }

 private:
  std::string root_;
};

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
