// Workers with devices of their own: a copy of every model on each, drawn by its worker alone, with the same bits.
#include <array>
#include <atomic>

#include "tests/service/model_manager_fixture.h"
#include "tests/service/sampling_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;

// A kernel table with devices 0 .. 3, all of them this CPU, that counts by device.
constexpr int kDevices = 4;
struct OnDevice {
  void* flow;
  int device;
};
struct Counted {
  std::array<std::atomic<int>, kDevices> flows{};  // not yet destroyed
  std::array<std::atomic<int>, kDevices> draws{};
  std::atomic<int> spoilt{-1};  // whose log q is wrong in the last bit
  std::atomic<int> lost{-1};    // which answers nothing more
};
Counted counted;

int32_t Create(const hf_u1_flow* flow, int32_t device, void** handle) {
  auto made = std::make_unique<OnDevice>(OnDevice{nullptr, device});
  if (const int32_t code = CpuKernels().flow_create(flow, 0, &made->flow)) return code;
  ++counted.flows.at(device);
  *handle = made.release();
  return HF_OK;
}
void Destroy(void* handle) {
  const std::unique_ptr<OnDevice> on(static_cast<OnDevice*>(handle));
  CpuKernels().flow_destroy(on->flow);
  --counted.flows.at(on->device);
}
int32_t Draw(const void* handle, int64_t n, const uint64_t* seed, const uint64_t* index, const double* couplings,
             double* field, double* log_q, double* action, void* stream) {
  const auto& on = *static_cast<const OnDevice*>(handle);
  if (counted.lost == on.device) return HF_DEVICE_LOST;
  ++counted.draws.at(on.device);
  const int32_t code = CpuKernels().flow_draw(on.flow, n, seed, index, couplings, field, log_q, action, stream);
  if (counted.spoilt == on.device) log_q[n - 1] = std::nextafter(log_q[n - 1], 1e9);
  return code;
}

const hf_kernels& FourDevices() {
  static const hf_kernels table = [] {
    hf_kernels t = CpuKernels();
    t.device_count = [] { return int32_t{kDevices}; };
    t.flow_create = Create;
    t.flow_destroy = Destroy;
    t.flow_draw = Draw;
    return t;
  }();
  return table;
}

class ModelManagerDevicesTest : public ModelManagerTest {
 protected:
  ModelManagerDevicesTest() {
    for (auto* counts : {&counted.flows, &counted.draws}) {
      for (auto& count : *counts) count = 0;
    }
    counted.spoilt = counted.lost = -1;
    kernels_ = &FourDevices();
    devices_ = {1, 3};
  }
  std::shared_ptr<SampleTask> Task(uint64_t count) {
    v1::SampleRequest request;
    request.set_model("m");
    request.set_seed(5);
    request.set_count(count);
    auto task = MakeSampleTask(registry_, request, {});
    EXPECT_TRUE(task.ok()) << task.status();
    return task.ok() ? *task : nullptr;
  }
  static Scheduler::Options Small(int devices) {
    Scheduler::Options options;
    options.devices = devices;
    options.batch.maximum = 64;
    return options;
  }
  Collector Run(Scheduler* scheduler, uint64_t count) { return Collect(scheduler, Task(count)); }
};

TEST_F(ModelManagerDevicesTest, EveryDeviceHasACopyUntilTheModelGoes) {
  const Manifest m = store_.Publish("m", 4, 0.3);
  Start();
  EXPECT_EQ(counted.flows[1], 1);
  EXPECT_EQ(counted.flows[3], 1);
  EXPECT_EQ(counted.flows[0] + counted.flows[2], 0);
  EXPECT_EQ(manager_->loaded_bytes(), 2 * ModelLoader::MemoryBytes(m));
  std::promise<absl::Status> done;
  manager_->Unload("m", [&](const absl::Status& status) { done.set_value(status); });
  ASSERT_TRUE(done.get_future().get().ok());
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kDestroyed));
  EXPECT_EQ(counted.flows[1] + counted.flows[3], 0);
}

TEST_F(ModelManagerDevicesTest, WorkersOfOneDeviceShareACopy) {
  store_.Publish("m", 4, 0.3);
  devices_ = {2, 2, 2};
  Start();
  EXPECT_EQ(counted.flows[2], 1);
  EXPECT_TRUE(registry_.Current("m")->replicas.empty());
}

TEST_F(ModelManagerDevicesTest, WorkersDrawOnTheirOwnDevicesTheSameBits) {
  store_.Publish("m", 4, 0.3);
  Start();
  const auto model = registry_.Current("m");
  const int before = counted.draws[3];
  Proposals a, b;
  const std::vector<uint64_t> seed(40, 7);
  std::vector<uint64_t> index(40);
  for (size_t i = 0; i < index.size(); ++i) index[i] = i;
  ASSERT_TRUE(model->ForWorker(0).Draw(model->target(), seed, index, &a).ok());
  EXPECT_EQ(counted.draws[3], before);
  ASSERT_TRUE(model->ForWorker(1).Draw(model->target(), seed, index, &b).ok());
  EXPECT_EQ(counted.draws[3], before + 1);
  EXPECT_EQ(a.field, b.field);
  EXPECT_EQ(a.log_q, b.log_q);

  std::vector<Configuration> alone;
  {
    Scheduler one(Small(1));
    alone = Run(&one, 20000).Expanded();
  }
  const int first = counted.draws[1], second = counted.draws[3];
  Scheduler two(Small(2));
  EXPECT_EQ(Run(&two, 20000).Expanded(), alone);
  EXPECT_GT(counted.draws[1], first);
  EXPECT_GT(counted.draws[3], second);
}

TEST_F(ModelManagerDevicesTest, AModelWhoseDevicesDisagreeIsRefused) {
  store_.Publish("m", 4, 0.3);
  counted.spoilt = 3;
  Start();
  EXPECT_EQ(Info("m").state(), v1::MODEL_STATE_REFUSED);
  EXPECT_THAT(Info("m").state_reason(), HasSubstr("devices 1 and 3 draw different bits"));
  EXPECT_EQ(counted.flows[1] + counted.flows[3], 0);
}

TEST_F(ModelManagerDevicesTest, OneSickDeviceMakesTheServerUnavailable) {
  store_.Publish("m", 4, 0.3);
  Start();
  counted.lost = 3;
  std::atomic<int> failures{0};
  Scheduler::Options options = Small(2);
  options.on_device_failure = [&](const absl::Status&) { ++failures; };
  Scheduler scheduler(std::move(options));
  auto task = Task(1000000);
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  while (reader.Read() != nullptr) {
  }
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(failures, 1);
  EXPECT_EQ(scheduler.Submit(Task(10)).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace haarflow::testing
