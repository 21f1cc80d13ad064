// Who may call what, for every method of every service that the server offers: the list comes from the server itself
// (reflection) and the schema, so that a new call cannot be forgotten.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include "haarflow/v1/tuning.grpc.pb.h"
#include "haarflow/v1/worker.grpc.pb.h"
#include "tests/service/life_fixture.h"

namespace haarflow::testing {
namespace {

using google::protobuf::MethodDescriptor;
using google::protobuf::UnknownFieldSet;
using grpc::StatusCode;

// Services that need no token: health, and the schema that anybody can read here.
const std::set<std::string> kOpen = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"};
const std::map<std::string, std::string> kRoles = {{"haarflow.v1.SamplerService", "sampler"},
                                                   {"haarflow.v1.TuningService", "tuner"},
                                                   {"haarflow.v1.WorkerService", "trainer"},
                                                   {"haarflow.v1.AdminService", "admin"}};

struct RawAnswer {
  grpc::Status status;
  std::string message;  // the last one
};

// Any kind of call, by bytes. `finish_writing`: whether the client says that it has no more to send.
RawAnswer RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, const std::string& request,
                  const std::string& token, bool finish_writing = true) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  const auto call = stub.PrepareCall(&context, method, &queue);
  const auto done = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  RawAnswer answer;
  call->StartCall(nullptr);
  if (done()) {
    const grpc::Slice slice(request);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    if (done() && finish_writing) {
      call->WritesDone(nullptr);
      done();
    }
    grpc::ByteBuffer response;
    for (call->Read(&response, nullptr); done(); call->Read(&response, nullptr)) {
      std::vector<grpc::Slice> slices;
      EXPECT_TRUE(response.Dump(&slices).ok());
      answer.message.clear();
      for (const grpc::Slice& s : slices) answer.message.append(reinterpret_cast<const char*>(s.begin()), s.size());
    }
  }
  call->Finish(&answer.status, nullptr);
  done();
  queue.Shutdown();
  done();
  return answer;
}

class AccessTest : public LifeTest {
 protected:
  // ServerReflectionRequest { string list_services = 7; } -> ServerReflectionResponse { ListServiceResponse
  // list_services_response = 6 { repeated ServiceResponse service = 1 { string name = 1; } } }.
  std::vector<std::string> Services() {
    const std::string request("\x3a\x00", 2);
    const RawAnswer answer =
        RawCall(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", request, "");
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    const auto each = [](const std::string& bytes, int number, const auto& visit) {
      UnknownFieldSet fields;
      EXPECT_TRUE(fields.ParseFromString(bytes));
      for (int i = 0; i < fields.field_count(); ++i) {
        if (fields.field(i).number() == number) visit(fields.field(i).length_delimited());
      }
    };
    std::vector<std::string> names;
    each(answer.message, 6, [&](const std::string& list) {
      each(list, 1, [&](const std::string& service) {
        each(service, 1, [&](const std::string& name) { names.push_back(name); });
      });
    });
    return names;
  }
  // Every method that wants a role, with the role.
  std::vector<std::pair<const MethodDescriptor*, std::string>> Methods() {
    std::vector<std::pair<const MethodDescriptor*, std::string>> methods;
    // Named, so that the linker keeps their descriptors.
    for (const auto* message : {v1::SampleRequest::descriptor(), v1::RetuneRequest::descriptor(),
                                v1::LeaseJobRequest::descriptor(), v1::PinRequest::descriptor()}) {
      EXPECT_GT(message->file()->service_count(), 0);
    }
    std::set<std::string> seen;
    for (const std::string& name : Services()) {
      if (kOpen.count(name) != 0) continue;
      const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
      const auto role = kRoles.find(name);
      if (service == nullptr || role == kRoles.end()) {
        ADD_FAILURE() << name << " is served, and this test does not know which role it wants";
        continue;
      }
      seen.insert(name);
      for (int i = 0; i < service->method_count(); ++i) methods.push_back({service->method(i), role->second});
    }
    EXPECT_EQ(seen.size(), kRoles.size()) << "a service is not offered";
    return methods;
  }
  RawAnswer CallAs(const MethodDescriptor& method, const std::string& token, bool finish_writing = true) {
    return RawCall(channel_, "/" + method.service()->full_name() + "/" + method.name(), "", token, finish_writing);
  }
};

TEST_F(AccessTest, EveryCallWantsATokenOfItsRoleAndNoLogHasOne) {
  Start({"--token-file", Tokens(), "--jobs", store_.path("jobs"), "--reflection"});
  const auto methods = Methods();
  EXPECT_GE(methods.size(), 21u);
  std::map<std::string, int> refusals;  // by method
  for (const auto& [method, wanted] : methods) {
    SCOPED_TRACE(method->full_name());
    // A caller without rights is sent away at once, also one who would go on sending.
    for (const std::string token : {"", "hft_forged"}) {
      EXPECT_EQ(CallAs(*method, token, /*finish_writing=*/!method->client_streaming()).status.error_code(),
                StatusCode::UNAUTHENTICATED);
      ++refusals[method->name()];
    }
    for (const std::string role : {"sampler", "tuner", "trainer", "admin"}) {
      const StatusCode code = CallAs(*method, "hft_" + role).status.error_code();
      if (role == wanted || role == "admin") {
        EXPECT_NE(code, StatusCode::UNAUTHENTICATED) << role;
        EXPECT_NE(code, StatusCode::PERMISSION_DENIED) << role;
        EXPECT_NE(code, StatusCode::UNIMPLEMENTED) << role;
      } else {
        EXPECT_EQ(code, StatusCode::PERMISSION_DENIED) << role;
        ++refusals[method->name()];
      }
    }
  }
  EXPECT_TRUE(Read(10, "hft_sampler").ok());
  EXPECT_EQ(Read(10, "hft_tuner").error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(CheckHealth(channel_, ""), 1) << "health needs no token";
  EXPECT_EQ(Terminate(), 0);
  for (const auto& [method, count] : refusals) {
    const std::string line = "audit method=" + method + " ";
    int found = 0;
    for (size_t at = 0; (at = process_->output().find(line, at)) != std::string::npos; ++at) ++found;
    EXPECT_GE(found, count) << "refusals of " << method << " are lines of the log";
  }
  EXPECT_THAT(process_->output(), HasSubstr("audit method=UnloadModel principal=admin-user"));
  EXPECT_THAT(process_->output(), HasSubstr("audit method=SetAlias principal=tuner-user"));
  EXPECT_THAT(process_->output(), Not(HasSubstr("hft_")));
}

TEST_F(AccessTest, WithoutTheFlagTheSchemaIsNotOffered) {
  Start();
  EXPECT_EQ(RawCall(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                    std::string("\x3a\x00", 2), "")
                .status.error_code(),
            StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(RawCall(channel_, "/grpc.channelz.v1.Channelz/GetServers", "", "").status.error_code(),
            StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Terminate(), 0);
}

}  // namespace
}  // namespace haarflow::testing
