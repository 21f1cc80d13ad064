// Jobs as the command line shows them.
#pragma once

#include <string>

#include "client/output.h"
#include "haarflow/v1/tuning.pb.h"

namespace haarflow {

std::string JobsText(const v1::ListJobsResponse& response);
std::string JobText(const v1::Job& job);
// A live view: the jobs that have not ended, and the last few that have. Empty when there is none.
std::string JobsTopText(const v1::ListJobsResponse& response);
// "RUNNING  lambda = 6.2  ESS 0.912  step 400/600  1:20 of 10:00": one line while it is watched.
std::string JobLine(const v1::Job& job);
Json JobJson(const v1::Job& job);
// "RUNNING".
std::string JobStateText(v1::JobState state);

}  // namespace haarflow
