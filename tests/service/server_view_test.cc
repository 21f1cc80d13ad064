// What a scrape reads from the parts of a running server.
#include "server/status/server_view.h"

#include "tests/service/model_manager_fixture.h"

namespace haarflow::testing {
namespace {

// Devices 0 and 1 have memory of their own; device 2 does not answer any more.
const hf_kernels& WithMemory() {
  static const hf_kernels table = [] {
    hf_kernels t = CpuKernels();
    t.device_memory = [](int32_t device, uint64_t* free, uint64_t* total) -> int32_t {
      if (device == 2) return HF_DEVICE_LOST;
      *free = 1000 + device;
      *total = 5000;
      return HF_OK;
    };
    return t;
  }();
  return table;
}

class ServerViewTest : public ModelManagerTest {
 protected:
  ScrapeValues Scrape(const hf_kernels& kernels, std::vector<Device> devices) {
    const auto metrics = Metrics::Create({"test", "device", "fake-1"}, "").value();
    Scheduler scheduler({});
    return ServerView({&registry_,
                       &scheduler,
                       metrics.get(),
                       manager_.get(),
                       nullptr,
                       store_.directory(),
                       {},
                       &kernels,
                       std::move(devices)})
        .Scrape();
  }
};

TEST_F(ServerViewTest, DevicesWithMemoryOfTheirOwnSayHowMuch) {
  store_.Publish("m", 4, 0.3);
  Start();
  using Kind = Device::Kind;
  const ScrapeValues values = Scrape(WithMemory(), {{Kind::kCuda, 0}, {Kind::kCuda, 2}, {Kind::kCuda, 1}});
  ASSERT_EQ(values.gpu_memory.size(), 2u) << "one is lost";
  EXPECT_EQ(values.gpu_memory[0].device, "cuda:0");
  EXPECT_EQ(values.gpu_memory[0].free, 1000u);
  EXPECT_EQ(values.gpu_memory[0].used, 4000u);
  EXPECT_EQ(values.gpu_memory[1].device, "cuda:1");
  EXPECT_EQ(values.gpu_memory[1].used, 3999u);
  EXPECT_EQ(values.models.at("READY"), 1);
  EXPECT_GT(values.memory.at("models").used, 0);
  EXPECT_GT(values.store_free_bytes, 0);
  EXPECT_TRUE(Scrape(CpuKernels(), {{Kind::kCpu, 2}}).gpu_memory.empty());
}

}  // namespace
}  // namespace haarflow::testing
