// A temporary store with small models that draw from their prior alone. Free of gRPC.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/model/store.h"

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

}  // namespace haarflow::testing
