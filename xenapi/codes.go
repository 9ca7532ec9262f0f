package xenapi

import "strconv"

// The error codes, one constructor each; the parameters stand in wire order.
// Sources: facts of XenAPI's error list, and what servers really send where the two differ.
const (
	CodeSessionAuthenticationFailed               = "SESSION_AUTHENTICATION_FAILED"
	CodeSessionAuthorizationFailed                = "SESSION_AUTHORIZATION_FAILED"
	CodeSessionInvalid                            = "SESSION_INVALID"
	CodeSessionNotRegistered                      = "SESSION_NOT_REGISTERED"
	CodeRBACPermissionDenied                      = "RBAC_PERMISSION_DENIED"
	CodePermissionDenied                          = "PERMISSION_DENIED"
	CodeMessageMethodUnknown                      = "MESSAGE_METHOD_UNKNOWN"
	CodeMessageParameterCountMismatch             = "MESSAGE_PARAMETER_COUNT_MISMATCH"
	CodeMessageDeprecated                         = "MESSAGE_DEPRECATED"
	CodeMessageRemoved                            = "MESSAGE_REMOVED"
	CodeNotImplemented                            = "NOT_IMPLEMENTED"
	CodeHandleInvalid                             = "HANDLE_INVALID"
	CodeUUIDInvalid                               = "UUID_INVALID"
	CodeFieldTypeError                            = "FIELD_TYPE_ERROR"
	CodeInvalidValue                              = "INVALID_VALUE"
	CodeValueNotSupported                         = "VALUE_NOT_SUPPORTED"
	CodeMapDuplicateKey                           = "MAP_DUPLICATE_KEY"
	CodeDBUniquenessConstraintViolation           = "DB_UNIQUENESS_CONSTRAINT_VIOLATION"
	CodeOperationNotAllowed                       = "OPERATION_NOT_ALLOWED"
	CodeOtherOperationInProgress                  = "OTHER_OPERATION_IN_PROGRESS"
	CodeInternalError                             = "INTERNAL_ERROR"
	CodeTooManyPendingTasks                       = "TOO_MANY_PENDING_TASKS"
	CodeTooBusy                                   = "TOO_BUSY"
	CodeTaskCancelled                             = "TASK_CANCELLED"
	CodeOutOfSpace                                = "OUT_OF_SPACE"
	CodeClientError                               = "CLIENT_ERROR"
	CodeInvalidPatch                              = "INVALID_PATCH"
	CodeInvalidPatchWithLog                       = "INVALID_PATCH_WITH_LOG"
	CodePatchAlreadyExists                        = "PATCH_ALREADY_EXISTS"
	CodePatchAlreadyApplied                       = "PATCH_ALREADY_APPLIED"
	CodePatchIsApplied                            = "PATCH_IS_APPLIED"
	CodeCannotFindPatch                           = "CANNOT_FIND_PATCH"
	CodeCannotFetchPatch                          = "CANNOT_FETCH_PATCH"
	CodePatchApplyFailed                          = "PATCH_APPLY_FAILED"
	CodePatchApplyFailedBackupFilesExist          = "PATCH_APPLY_FAILED_BACKUP_FILES_EXIST"
	CodePatchPrecheckFailedUnknownError           = "PATCH_PRECHECK_FAILED_UNKNOWN_ERROR"
	CodePatchPrecheckFailedISOMounted             = "PATCH_PRECHECK_FAILED_ISO_MOUNTED"
	CodePatchPrecheckFailedPrerequisiteMissing    = "PATCH_PRECHECK_FAILED_PREREQUISITE_MISSING"
	CodePatchPrecheckFailedWrongServerVersion     = "PATCH_PRECHECK_FAILED_WRONG_SERVER_VERSION"
	CodePatchPrecheckFailedWrongServerBuild       = "PATCH_PRECHECK_FAILED_WRONG_SERVER_BUILD"
	CodePatchPrecheckFailedVMRunning              = "PATCH_PRECHECK_FAILED_VM_RUNNING"
	CodePatchPrecheckFailedOutOfSpace             = "PATCH_PRECHECK_FAILED_OUT_OF_SPACE"
	CodeHostHasNoPatchSR                          = "HOST_HAS_NO_PATCH_SR"
	CodePatchTrustUnreadable                      = "PATCH_TRUST_UNREADABLE"
	CodeInvalidUpdate                             = "INVALID_UPDATE"
	CodeCannotFindUpdate                          = "CANNOT_FIND_UPDATE"
	CodeUpdateAlreadyExists                       = "UPDATE_ALREADY_EXISTS"
	CodeUpdateAlreadyApplied                      = "UPDATE_ALREADY_APPLIED"
	CodeUpdateAlreadyAppliedInPool                = "UPDATE_ALREADY_APPLIED_IN_POOL"
	CodeUpdateIsApplied                           = "UPDATE_IS_APPLIED"
	CodeUpdateApplyFailed                         = "UPDATE_APPLY_FAILED"
	CodeUpdatePoolApplyFailed                     = "UPDATE_POOL_APPLY_FAILED"
	CodeUpdatePrecheckFailedUnknownError          = "UPDATE_PRECHECK_FAILED_UNKNOWN_ERROR"
	CodeUpdatePrecheckFailedPrerequisiteMissing   = "UPDATE_PRECHECK_FAILED_PREREQUISITE_MISSING"
	CodeUpdatePrecheckFailedWrongServerVersion    = "UPDATE_PRECHECK_FAILED_WRONG_SERVER_VERSION"
	CodeUpdatePrecheckFailedOutOfSpace            = "UPDATE_PRECHECK_FAILED_OUT_OF_SPACE"
	CodeHostOffline                               = "HOST_OFFLINE"
	CodeHostNotLive                               = "HOST_NOT_LIVE"
	CodePoolDatabaseUnavailable                   = "POOL_DATABASE_UNAVAILABLE"
	CodeHostIsLive                                = "HOST_IS_LIVE"
	CodeHostCannotDestroySelf                     = "HOST_CANNOT_DESTROY_SELF"
	CodePoolHostsNotHomogeneous                   = "POOL_HOSTS_NOT_HOMOGENEOUS"
	CodePoolJoiningHostMustHaveSameProductVersion = "POOL_JOINING_HOST_MUST_HAVE_SAME_PRODUCT_VERSION"
	CodePoolJoiningHostCannotContainSharedSRs     = "POOL_JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS"
	CodeHostDisabled                              = "HOST_DISABLED"
	CodeHostNotDisabled                           = "HOST_NOT_DISABLED"
	CodeHostNameInvalid                           = "HOST_NAME_INVALID"
	CodeXenAPIMissingPlugin                       = "XENAPI_MISSING_PLUGIN"
	CodeSystemStatusRetrievalFailed               = "SYSTEM_STATUS_RETRIEVAL_FAILED"
	CodeSSLVerifyError                            = "SSL_VERIFY_ERROR"
	CodeXenAPIPluginFailure                       = "XENAPI_PLUGIN_FAILURE"
	CodeHostPowerOnModeDisabled                   = "HOST_POWER_ON_MODE_DISABLED"
	CodeServerCertificateInvalid                  = "SERVER_CERTIFICATE_INVALID"
	CodeServerCertificateKeyInvalid               = "SERVER_CERTIFICATE_KEY_INVALID"
	CodeServerCertificateKeyMismatch              = "SERVER_CERTIFICATE_KEY_MISMATCH"
	CodeServerCertificateNotValidYet              = "SERVER_CERTIFICATE_NOT_VALID_YET"
	CodeServerCertificateExpired                  = "SERVER_CERTIFICATE_EXPIRED"
	CodeServerCertificateChainInvalid             = "SERVER_CERTIFICATE_CHAIN_INVALID"
	CodeCertificateNameInvalid                    = "CERTIFICATE_NAME_INVALID"
	CodeCertificateAlreadyExists                  = "CERTIFICATE_ALREADY_EXISTS"
	CodeCertificateDoesNotExist                   = "CERTIFICATE_DOES_NOT_EXIST"
	CodeCertificateCorrupt                        = "CERTIFICATE_CORRUPT"
	CodeCertificateLibraryCorrupt                 = "CERTIFICATE_LIBRARY_CORRUPT"
	CodeCRLNameInvalid                            = "CRL_NAME_INVALID"
	CodeCRLAlreadyExists                          = "CRL_ALREADY_EXISTS"
	CodeCRLDoesNotExist                           = "CRL_DOES_NOT_EXIST"
	CodeCRLCorrupt                                = "CRL_CORRUPT"
	CodeHostIsSlave                               = "HOST_IS_SLAVE"
	CodeHostStillBooting                          = "HOST_STILL_BOOTING"
	CodeHostCannotSeeSR                           = "HOST_CANNOT_SEE_SR"
	CodeCannotContactHost                         = "CANNOT_CONTACT_HOST"
	CodeSRHasNoPBDs                               = "SR_HAS_NO_PBDS"
	CodeSRHasPBD                                  = "SR_HAS_PBD"
	CodeSRNotEmpty                                = "SR_NOT_EMPTY"
	CodeSRIndestructible                          = "SR_INDESTRUCTIBLE"
	CodeSRUUIDExists                              = "SR_UUID_EXISTS"
	CodeSRUnknownDriver                           = "SR_UNKNOWN_DRIVER"
	CodeSRNotSharable                             = "SR_NOT_SHARABLE"
	CodeSRHasMultiplePBDs                         = "SR_HAS_MULTIPLE_PBDS"
	CodeSROperationNotSupported                   = "SR_OPERATION_NOT_SUPPORTED"
	CodeSRNotAttached                             = "SR_NOT_ATTACHED"
	CodeSRFull                                    = "SR_FULL"
	CodeSRDeviceInUse                             = "SR_DEVICE_IN_USE"
	CodeSRBackendFailure                          = "SR_BACKEND_FAILURE"
	CodeSRAttachFailed                            = "SR_ATTACH_FAILED"
	CodeUnimplementedInSMBackend                  = "UNIMPLEMENTED_IN_SM_BACKEND"
	CodeDefaultSRNotFound                         = "DEFAULT_SR_NOT_FOUND"
	CodePBDExists                                 = "PBD_EXISTS"
	CodeLocationNotUnique                         = "LOCATION_NOT_UNIQUE"
	CodeVDIInUse                                  = "VDI_IN_USE"
	CodeVDINotManaged                             = "VDI_NOT_MANAGED"
	CodeVDIReadonly                               = "VDI_READONLY"
	CodeVDITooSmall                               = "VDI_TOO_SMALL"
	CodeVDITooLarge                               = "VDI_TOO_LARGE"
	CodeVDINotSparse                              = "VDI_NOT_SPARSE"
	CodeVDIMissing                                = "VDI_MISSING"
	CodeVDIIOError                                = "VDI_IO_ERROR"
	CodeVDIIncompatibleType                       = "VDI_INCOMPATIBLE_TYPE"
	CodeVDINoCBTMetadata                          = "VDI_NO_CBT_METADATA"
	CodeCouldNotImportDatabase                    = "COULD_NOT_IMPORT_DATABASE"
	CodeNoMoreRedoLogsAllowed                     = "NO_MORE_REDO_LOGS_ALLOWED"
	CodeRedoLogIsEnabled                          = "REDO_LOG_IS_ENABLED"
	CodeVDICopyFailed                             = "VDI_COPY_FAILED"
	CodeDeviceAlreadyAttached                     = "DEVICE_ALREADY_ATTACHED"
	CodeDeviceAlreadyDetached                     = "DEVICE_ALREADY_DETACHED"
	CodeDeviceAlreadyExists                       = "DEVICE_ALREADY_EXISTS"
	CodeDeviceDetachRejected                      = "DEVICE_DETACH_REJECTED"
	CodeInvalidDevice                             = "INVALID_DEVICE"
	CodeVBDNotRemovableMedia                      = "VBD_NOT_REMOVABLE_MEDIA"
	CodeVBDIsEmpty                                = "VBD_IS_EMPTY"
	CodeVBDNotEmpty                               = "VBD_NOT_EMPTY"
	CodeVBDNotUnpluggable                         = "VBD_NOT_UNPLUGGABLE"
	CodeVBDCDsMustBeReadonly                      = "VBD_CDS_MUST_BE_READONLY"
	CodeEventsLost                                = "EVENTS_LOST"
	CodeEventFromTokenParseFailure                = "EVENT_FROM_TOKEN_PARSE_FAILURE"
	CodeRoleNotFound                              = "ROLE_NOT_FOUND"
	CodeRoleAlreadyExists                         = "ROLE_ALREADY_EXISTS"
	CodeSubjectAlreadyExists                      = "SUBJECT_ALREADY_EXISTS"
	CodeSubjectCannotBeResolved                   = "SUBJECT_CANNOT_BE_RESOLVED"
	CodeAuthAlreadyEnabled                        = "AUTH_ALREADY_ENABLED"
	CodeAuthUnknownType                           = "AUTH_UNKNOWN_TYPE"
	CodeAuthIsDisabled                            = "AUTH_IS_DISABLED"
	CodeAuthServiceError                          = "AUTH_SERVICE_ERROR"
	CodeAuthEnableFailed                          = "AUTH_ENABLE_FAILED"
	CodeAuthEnableFailedWrongCredentials          = "AUTH_ENABLE_FAILED_WRONG_CREDENTIALS"
	CodeAuthEnableFailedUnavailable               = "AUTH_ENABLE_FAILED_UNAVAILABLE"
	CodePoolAuthAlreadyEnabled                    = "POOL_AUTH_ALREADY_ENABLED"
	CodePoolAuthEnableFailed                      = "POOL_AUTH_ENABLE_FAILED"
	CodePoolAuthEnableFailedWrongCredentials      = "POOL_AUTH_ENABLE_FAILED_WRONG_CREDENTIALS"
	CodePoolAuthEnableFailedUnavailable           = "POOL_AUTH_ENABLE_FAILED_UNAVAILABLE"
	CodeChangePasswordRejected                    = "CHANGE_PASSWORD_REJECTED"
	CodeUserIsNotLocalSuperuser                   = "USER_IS_NOT_LOCAL_SUPERUSER"
	CodeInvalidBaseURL                            = "INVALID_BASE_URL"
	CodeInvalidGPGKeyPath                         = "INVALID_GPGKEY_PATH"
	CodeRepositoryAlreadyExists                   = "REPOSITORY_ALREADY_EXISTS"
	CodeRepositoryIsInUse                         = "REPOSITORY_IS_IN_USE"
	CodeNoRepositoryEnabled                       = "NO_REPOSITORY_ENABLED"
	CodeNoRepositoriesConfigured                  = "NO_REPOSITORIES_CONFIGURED"
	CodeSyncUpdatesInProgress                     = "SYNC_UPDATES_IN_PROGRESS"
	CodeReposyncFailed                            = "REPOSYNC_FAILED"
	CodeUpdateinfoHashMismatch                    = "UPDATEINFO_HASH_MISMATCH"
	CodeUpdatesRequireSync                        = "UPDATES_REQUIRE_SYNC"
	CodeInvalidRepositoryProxyURL                 = "INVALID_REPOSITORY_PROXY_URL"
	CodeInvalidRepositoryProxyCredential          = "INVALID_REPOSITORY_PROXY_CREDENTIAL"
	CodeInvalidUpdateSyncDay                      = "INVALID_UPDATE_SYNC_DAY"
)

// sentences explains each code to a person.
var sentences = map[string]string{
	CodeSessionAuthenticationFailed:               "The user name or password was wrong.",
	CodeSessionAuthorizationFailed:                "The user is known but may not log in.",
	CodeSessionInvalid:                            "The session does not exist, was logged out or has expired.",
	CodeSessionNotRegistered:                      "The session has not registered for events.",
	CodeRBACPermissionDenied:                      "The session's role does not allow this call.",
	CodePermissionDenied:                          "The caller may not do this.",
	CodeMessageMethodUnknown:                      "There is no such message.",
	CodeMessageParameterCountMismatch:             "The message takes another number of parameters.",
	CodeMessageDeprecated:                         "The message is deprecated and does nothing any more.",
	CodeMessageRemoved:                            "The message was removed from the API.",
	CodeNotImplemented:                            "A pool without virtual machines cannot do this.",
	CodeHandleInvalid:                             "There is no object with this reference.",
	CodeUUIDInvalid:                               "There is no object with this UUID.",
	CodeFieldTypeError:                            "The value has the wrong type for this field.",
	CodeInvalidValue:                              "The value is not valid for this field.",
	CodeValueNotSupported:                         "The value is valid but not supported here.",
	CodeMapDuplicateKey:                           "The map already has this key.",
	CodeDBUniquenessConstraintViolation:           "Another row already has this value.",
	CodeOperationNotAllowed:                       "The operation is not allowed in the object's present state.",
	CodeOtherOperationInProgress:                  "Another operation on the object is running.",
	CodeInternalError:                             "Something that should not happen did; the log has the details under the id in the message.",
	CodeTooManyPendingTasks:                       "Too many tasks are pending.",
	CodeTooBusy:                                   "The server is too busy to take the call.",
	CodeTaskCancelled:                             "The task was cancelled.",
	CodeOutOfSpace:                                "There is not enough free space at the location.",
	CodeClientError:                               "The client reported that its side of a transfer failed.",
	CodeInvalidPatch:                              "The file is not a patch: its signature or its information is not valid.",
	CodeInvalidPatchWithLog:                       "The patch's program answered with something that is not understood.",
	CodePatchAlreadyExists:                        "Another patch with this UUID exists.",
	CodePatchAlreadyApplied:                       "The patch is already applied on this host.",
	CodePatchIsApplied:                            "The patch is applied on a host.",
	CodeCannotFindPatch:                           "The patch's content is gone: neither its VDI nor its file exists.",
	CodeCannotFetchPatch:                          "The patch could not be fetched from the coordinator.",
	CodePatchApplyFailed:                          "The patch's program failed while it was applied.",
	CodePatchApplyFailedBackupFilesExist:          "Backup files of an earlier attempt stand in the way of the patch.",
	CodePatchPrecheckFailedUnknownError:           "The patch's precheck failed.",
	CodePatchPrecheckFailedISOMounted:             "The patch's precheck found a mounted ISO.",
	CodePatchPrecheckFailedPrerequisiteMissing:    "Patches that this one needs are not applied.",
	CodePatchPrecheckFailedWrongServerVersion:     "The patch is for another server version.",
	CodePatchPrecheckFailedWrongServerBuild:       "The patch is for another server build.",
	CodePatchPrecheckFailedVMRunning:              "Virtual machines still run on the host.",
	CodePatchPrecheckFailedOutOfSpace:             "The host has too little free space for the patch.",
	CodeHostHasNoPatchSR:                          "No SR of the host can take the patch; what follows the host says of each SR why.",
	CodePatchTrustUnreadable:                      "A file that says whom this host trusts to sign patches is not understood.",
	CodeInvalidUpdate:                             "The VDI does not hold an update: its signature or its information is not valid.",
	CodeCannotFindUpdate:                          "The content of the update's patch is gone: its VDI does not exist.",
	CodeUpdateAlreadyExists:                       "The update is in another VDI already, or another one with this UUID exists.",
	CodeUpdateAlreadyApplied:                      "The update is already applied on this host.",
	CodeUpdateAlreadyAppliedInPool:                "The update is already applied on every host of the pool.",
	CodeUpdateIsApplied:                           "The update is applied on a host.",
	CodeUpdateApplyFailed:                         "The update's program failed while it was applied.",
	CodeUpdatePoolApplyFailed:                     "The update was not applied on these hosts.",
	CodeUpdatePrecheckFailedUnknownError:          "The update's precheck failed.",
	CodeUpdatePrecheckFailedPrerequisiteMissing:   "Updates that this one needs are not applied.",
	CodeUpdatePrecheckFailedWrongServerVersion:    "The update is for another server version.",
	CodeUpdatePrecheckFailedOutOfSpace:            "The host has too little free space for the update.",
	CodeHostOffline:                               "The host is not running.",
	CodeHostNotLive:                               "The host does not answer.",
	CodePoolDatabaseUnavailable:                   "The pool's database is not reached by a majority of its members.",
	CodeHostIsLive:                                "The host is running.",
	CodeHostCannotDestroySelf:                     "A host cannot destroy itself.",
	CodePoolHostsNotHomogeneous:                   "The host has other patches applied than the pool.",
	CodePoolJoiningHostMustHaveSameProductVersion: "The host runs another version than the pool.",
	CodePoolJoiningHostCannotContainSharedSRs:     "The host has a shared SR plugged, which is another pool's too.",
	CodeHostDisabled:                              "The host is disabled.",
	CodeHostNotDisabled:                           "The host is enabled: disable it first.",
	CodeHostNameInvalid:                           "The host name is invalid.",
	CodeXenAPIMissingPlugin:                       "The host has no such plug-in.",
	CodeSystemStatusRetrievalFailed:               "The status report could not be made, or not be delivered.",
	CodeSSLVerifyError:                            "The certificate of the server is not one that this host trusts.",
	CodeXenAPIPluginFailure:                       "A program of the host's, an extension, failed.",
	CodeHostPowerOnModeDisabled:                   "The host has no way to be switched on from afar.",
	CodeServerCertificateInvalid:                  "The certificate is none in PEM form.",
	CodeServerCertificateKeyInvalid:               "The private key is none in PEM form.",
	CodeServerCertificateKeyMismatch:              "The private key is not that of the certificate.",
	CodeServerCertificateNotValidYet:              "The certificate is not valid yet.",
	CodeServerCertificateExpired:                  "The certificate has expired.",
	CodeServerCertificateChainInvalid:             "The chain of certificates is none in PEM form.",
	CodeCertificateNameInvalid:                    "The name is none for a certificate.",
	CodeCertificateAlreadyExists:                  "The pool already has a certificate of this name.",
	CodeCertificateDoesNotExist:                   "The pool has no certificate of this name.",
	CodeCertificateCorrupt:                        "The text is no certificate that can be trusted.",
	CodeCertificateLibraryCorrupt:                 "What the pool trusts cannot be read.",
	CodeCRLNameInvalid:                            "The name is none for a revocation list.",
	CodeCRLAlreadyExists:                          "The pool already has a revocation list of this name.",
	CodeCRLDoesNotExist:                           "The pool has no revocation list of this name.",
	CodeCRLCorrupt:                                "The text is no revocation list of the authority that it names.",
	CodeHostIsSlave:                               "The host is not the pool's coordinator.",
	CodeHostStillBooting:                          "The host is still starting.",
	CodeHostCannotSeeSR:                           "The host has no attached PBD of the SR.",
	CodeCannotContactHost:                         "The host cannot be reached.",
	CodeSRHasNoPBDs:                               "The SR is not plugged on this host.",
	CodeSRHasPBD:                                  "The SR still has a plugged PBD.",
	CodeSRNotEmpty:                                "The SR still holds VDIs.",
	CodeSRIndestructible:                          "The SR is marked as indestructible.",
	CodeSRUUIDExists:                              "An SR with this UUID exists.",
	CodeSRUnknownDriver:                           "There is no SR driver of this type.",
	CodeSRNotSharable:                             "The SR is not shared and is attached on another host.",
	CodeSRHasMultiplePBDs:                         "The SR has more than one PBD.",
	CodeSROperationNotSupported:                   "The SR's driver cannot do this.",
	CodeSRNotAttached:                             "The SR is not attached.",
	CodeSRFull:                                    "The SR has too little free space: the bytes that were needed and the bytes that there were.",
	CodeSRDeviceInUse:                             "The SR's device is in use.",
	CodeSRBackendFailure:                          "The SR's driver failed.",
	CodeSRAttachFailed:                            "The SR could not be attached.",
	CodeUnimplementedInSMBackend:                  "The SR's driver does not implement this.",
	CodeDefaultSRNotFound:                         "The pool's default SR does not exist.",
	CodePBDExists:                                 "The host already has a PBD of the SR.",
	CodeLocationNotUnique:                         "The SR already has a VDI at this location.",
	CodeVDIInUse:                                  "The VDI is in use.",
	CodeVDINotManaged:                             "The VDI is not managed by the SR's driver.",
	CodeVDIReadonly:                               "The VDI is read-only.",
	CodeVDITooSmall:                               "The VDI is smaller than the bytes it must take.",
	CodeVDITooLarge:                               "The VDI is larger than the bytes allowed.",
	CodeVDINotSparse:                              "The destination must be written in full.",
	CodeVDIMissing:                                "The VDI's bytes are not on its SR.",
	CodeVDIIOError:                                "Reading or writing the VDI failed.",
	CodeVDIIncompatibleType:                       "The VDI's type does not allow this.",
	CodeVDINoCBTMetadata:                          "Nothing is known of what changes in the VDI.",
	CodeCouldNotImportDatabase:                    "A pool's database could not be read from where it was to be.",
	CodeNoMoreRedoLogsAllowed:                     "The pool's database is kept in as many VDIs as may be.",
	CodeRedoLogIsEnabled:                          "The pool has a redo log already, on another SR.",
	CodeVDICopyFailed:                             "The VDI could not be copied.",
	CodeDeviceAlreadyAttached:                     "The device is already attached.",
	CodeDeviceAlreadyDetached:                     "The device is not attached.",
	CodeDeviceAlreadyExists:                       "The virtual machine already has a device with this number.",
	CodeDeviceDetachRejected:                      "The device is still in use.",
	CodeInvalidDevice:                             "There can be no device with this number.",
	CodeVBDNotRemovableMedia:                      "The drive's medium cannot be removed: it is not a CD drive.",
	CodeVBDIsEmpty:                                "The drive is empty.",
	CodeVBDNotEmpty:                               "The drive is not empty.",
	CodeVBDNotUnpluggable:                         "The VBD is marked as one that is not unplugged.",
	CodeVBDCDsMustBeReadonly:                      "A CD is attached read-only.",
	CodeEventsLost:                                "Events were lost; fetch everything anew.",
	CodeEventFromTokenParseFailure:                "The token is not one that event.from gave.",
	CodeRoleNotFound:                              "There is no such role.",
	CodeRoleAlreadyExists:                         "The subject has the role already.",
	CodeSubjectAlreadyExists:                      "There is a subject with this identifier already.",
	CodeSubjectCannotBeResolved:                   "The identifier names no user of the pool, and nobody of its directory.",
	CodeAuthAlreadyEnabled:                        "External authentication is already enabled for this host.",
	CodeAuthUnknownType:                           "There is no external authentication of this type.",
	CodeAuthIsDisabled:                            "External authentication is disabled, and the pool has no user of that name.",
	CodeAuthServiceError:                          "The external directory could not be asked.",
	CodeAuthEnableFailed:                          "The host could not read the external directory.",
	CodeAuthEnableFailedWrongCredentials:          "The external directory refuses the user of the configuration.",
	CodeAuthEnableFailedUnavailable:               "The host does not reach the external directory.",
	CodePoolAuthAlreadyEnabled:                    "External authentication is already enabled for at least one host of the pool.",
	CodePoolAuthEnableFailed:                      "A host of the pool could not read the external directory.",
	CodePoolAuthEnableFailedWrongCredentials:      "The external directory refuses the user of the configuration to a host of the pool.",
	CodePoolAuthEnableFailedUnavailable:           "A host of the pool does not reach the external directory.",
	CodeChangePasswordRejected:                    "The new password was not taken.",
	CodeUserIsNotLocalSuperuser:                   "Only the local superuser may do this.",
	CodeInvalidBaseURL:                            "The base URL is not one of a repository.",
	CodeInvalidGPGKeyPath:                         "The path of the GPG key is not the name of a file of trusted keys.",
	CodeRepositoryAlreadyExists:                   "There is a repository with this name or URL already.",
	CodeRepositoryIsInUse:                         "The repository is one of those that the pool fetches patches from.",
	CodeNoRepositoryEnabled:                       "The pool fetches patches from no repository.",
	CodeNoRepositoriesConfigured:                  "The pool has no repositories.",
	CodeSyncUpdatesInProgress:                     "Patches are fetched from the repositories now.",
	CodeReposyncFailed:                            "The patches of a repository could not be fetched.",
	CodeUpdateinfoHashMismatch:                    "The hash is not that of the patches that were fetched last.",
	CodeUpdatesRequireSync:                        "Patches must be fetched from the repositories again.",
	CodeInvalidRepositoryProxyURL:                 "The URL of the repository proxy is not one.",
	CodeInvalidRepositoryProxyCredential:          "The user name or password of the repository proxy cannot be one.",
	CodeInvalidUpdateSyncDay:                      "The day cannot be one on which patches are fetched.",
}

// ErrSessionAuthenticationFailed makes SESSION_AUTHENTICATION_FAILED: the user name or password was wrong.
func ErrSessionAuthenticationFailed(user string, message string) *Error {
	return NewError(CodeSessionAuthenticationFailed, user, message)
}

// ErrSessionAuthorizationFailed makes SESSION_AUTHORIZATION_FAILED: the user is known but may not log in.
func ErrSessionAuthorizationFailed(user string, message string) *Error {
	return NewError(CodeSessionAuthorizationFailed, user, message)
}

// ErrSessionInvalid makes SESSION_INVALID: the session does not exist, was logged out or has expired.
func ErrSessionInvalid(session string) *Error {
	return NewError(CodeSessionInvalid, session)
}

// ErrSessionNotRegistered makes SESSION_NOT_REGISTERED: the session has not registered for events.
func ErrSessionNotRegistered(session string) *Error {
	return NewError(CodeSessionNotRegistered, session)
}

// ErrRBACPermissionDenied makes RBAC_PERMISSION_DENIED: the session's role does not allow this call.
func ErrRBACPermissionDenied(permission string, message string) *Error {
	return NewError(CodeRBACPermissionDenied, permission, message)
}

// ErrPermissionDenied makes PERMISSION_DENIED: the caller may not do this.
func ErrPermissionDenied(message string) *Error {
	return NewError(CodePermissionDenied, message)
}

// ErrMessageMethodUnknown makes MESSAGE_METHOD_UNKNOWN: there is no such message.
func ErrMessageMethodUnknown(method string) *Error {
	return NewError(CodeMessageMethodUnknown, method)
}

// ErrMessageParameterCountMismatch makes MESSAGE_PARAMETER_COUNT_MISMATCH: the message takes another number of parameters.
func ErrMessageParameterCountMismatch(method string, expected int, received int) *Error {
	return NewError(CodeMessageParameterCountMismatch, method, strconv.Itoa(expected), strconv.Itoa(received))
}

// ErrMessageDeprecated makes MESSAGE_DEPRECATED: the message is deprecated and does nothing any more.
func ErrMessageDeprecated() *Error {
	return NewError(CodeMessageDeprecated)
}

// ErrMessageRemoved makes MESSAGE_REMOVED: the message was removed from the API.
func ErrMessageRemoved() *Error {
	return NewError(CodeMessageRemoved)
}

// ErrNotImplemented makes NOT_IMPLEMENTED: a pool without virtual machines cannot do this.
func ErrNotImplemented(function string) *Error {
	return NewError(CodeNotImplemented, function)
}

// ErrHandleInvalid makes HANDLE_INVALID: there is no object with this reference.
func ErrHandleInvalid(class string, handle string) *Error {
	return NewError(CodeHandleInvalid, class, handle)
}

// ErrUUIDInvalid makes UUID_INVALID: there is no object with this UUID.
func ErrUUIDInvalid(class string, uuid string) *Error {
	return NewError(CodeUUIDInvalid, class, uuid)
}

// ErrFieldTypeError makes FIELD_TYPE_ERROR: the value has the wrong type for this field.
func ErrFieldTypeError(field string) *Error {
	return NewError(CodeFieldTypeError, field)
}

// ErrInvalidValue makes INVALID_VALUE: the value is not valid for this field.
func ErrInvalidValue(field string, value string) *Error {
	return NewError(CodeInvalidValue, field, value)
}

// ErrValueNotSupported makes VALUE_NOT_SUPPORTED: the value is valid but not supported here.
func ErrValueNotSupported(field string, value string, reason string) *Error {
	return NewError(CodeValueNotSupported, field, value, reason)
}

// ErrMapDuplicateKey makes MAP_DUPLICATE_KEY: the map already has this key.
func ErrMapDuplicateKey(class string, field string, ref string, key string) *Error {
	return NewError(CodeMapDuplicateKey, class, field, ref, key)
}

// ErrDBUniquenessConstraintViolation makes DB_UNIQUENESS_CONSTRAINT_VIOLATION: another row already has this value.
func ErrDBUniquenessConstraintViolation(table string, field string, value string) *Error {
	return NewError(CodeDBUniquenessConstraintViolation, table, field, value)
}

// ErrOperationNotAllowed makes OPERATION_NOT_ALLOWED: the operation is not allowed in the object's present state.
func ErrOperationNotAllowed(reason string) *Error {
	return NewError(CodeOperationNotAllowed, reason)
}

// ErrOtherOperationInProgress makes OTHER_OPERATION_IN_PROGRESS: another operation on the object is running.
func ErrOtherOperationInProgress(class string, ref string, operation string) *Error {
	return NewError(CodeOtherOperationInProgress, class, ref, operation)
}

// ErrInternalError makes INTERNAL_ERROR: something that should not happen did; the log has the details under the id in the message.
func ErrInternalError(message string) *Error {
	return NewError(CodeInternalError, message)
}

// ErrTooManyPendingTasks makes TOO_MANY_PENDING_TASKS: too many tasks are pending.
func ErrTooManyPendingTasks() *Error {
	return NewError(CodeTooManyPendingTasks)
}

// ErrTooBusy makes TOO_BUSY: the server is too busy to take the call.
func ErrTooBusy() *Error {
	return NewError(CodeTooBusy)
}

// ErrTaskCancelled makes TASK_CANCELLED: the task was cancelled.
func ErrTaskCancelled(task Ref[Task]) *Error {
	return NewError(CodeTaskCancelled, task.String())
}

// ErrOutOfSpace makes OUT_OF_SPACE: there is not enough free space at the location.
func ErrOutOfSpace(location string) *Error {
	return NewError(CodeOutOfSpace, location)
}

// ErrClientError makes CLIENT_ERROR: the client reported that its side of a transfer failed.
func ErrClientError() *Error {
	return NewError(CodeClientError)
}

// ErrInvalidPatch makes INVALID_PATCH: the file is not a patch: its signature or its information is not valid.
func ErrInvalidPatch(reason string) *Error {
	return NewError(CodeInvalidPatch, reason)
}

// ErrInvalidPatchWithLog makes INVALID_PATCH_WITH_LOG: the patch's program answered with something that is not understood.
func ErrInvalidPatchWithLog(log string) *Error {
	return NewError(CodeInvalidPatchWithLog, log)
}

// ErrPatchAlreadyExists makes PATCH_ALREADY_EXISTS: another patch with this UUID exists.
func ErrPatchAlreadyExists(uuid string) *Error {
	return NewError(CodePatchAlreadyExists, uuid)
}

// ErrPatchAlreadyApplied makes PATCH_ALREADY_APPLIED: the patch is already applied on this host.
func ErrPatchAlreadyApplied(patch Ref[PoolPatch]) *Error {
	return NewError(CodePatchAlreadyApplied, patch.String())
}

// ErrPatchIsApplied makes PATCH_IS_APPLIED: the patch is applied on a host.
func ErrPatchIsApplied() *Error {
	return NewError(CodePatchIsApplied)
}

// ErrCannotFindPatch makes CANNOT_FIND_PATCH: the patch's content is gone: neither its VDI nor its file exists.
func ErrCannotFindPatch() *Error {
	return NewError(CodeCannotFindPatch)
}

// ErrCannotFetchPatch makes CANNOT_FETCH_PATCH: the patch could not be fetched from the coordinator.
func ErrCannotFetchPatch(uuid string) *Error {
	return NewError(CodeCannotFetchPatch, uuid)
}

// ErrPatchApplyFailed makes PATCH_APPLY_FAILED: the patch's program failed while it was applied.
func ErrPatchApplyFailed(output string) *Error {
	return NewError(CodePatchApplyFailed, output)
}

// ErrPatchApplyFailedBackupFilesExist makes PATCH_APPLY_FAILED_BACKUP_FILES_EXIST: backup files of an earlier attempt stand in the way of the patch.
func ErrPatchApplyFailedBackupFilesExist(output string) *Error {
	return NewError(CodePatchApplyFailedBackupFilesExist, output)
}

// ErrPatchPrecheckFailedUnknownError makes PATCH_PRECHECK_FAILED_UNKNOWN_ERROR: the patch's precheck failed.
func ErrPatchPrecheckFailedUnknownError(patch Ref[PoolPatch], info string) *Error {
	return NewError(CodePatchPrecheckFailedUnknownError, patch.String(), info)
}

// ErrPatchPrecheckFailedISOMounted makes PATCH_PRECHECK_FAILED_ISO_MOUNTED: the patch's precheck found a mounted ISO.
func ErrPatchPrecheckFailedISOMounted(patch Ref[PoolPatch], info string) *Error {
	return NewError(CodePatchPrecheckFailedISOMounted, patch.String(), info)
}

// ErrPatchPrecheckFailedPrerequisiteMissing makes PATCH_PRECHECK_FAILED_PREREQUISITE_MISSING: patches that this one needs are not applied.
func ErrPatchPrecheckFailedPrerequisiteMissing(patch Ref[PoolPatch], prerequisites string) *Error {
	return NewError(CodePatchPrecheckFailedPrerequisiteMissing, patch.String(), prerequisites)
}

// ErrPatchPrecheckFailedWrongServerVersion makes PATCH_PRECHECK_FAILED_WRONG_SERVER_VERSION: the patch is for another server version.
func ErrPatchPrecheckFailedWrongServerVersion(patch Ref[PoolPatch], found string, required string) *Error {
	return NewError(CodePatchPrecheckFailedWrongServerVersion, patch.String(), found, required)
}

// ErrPatchPrecheckFailedWrongServerBuild makes PATCH_PRECHECK_FAILED_WRONG_SERVER_BUILD: the patch is for another server build.
func ErrPatchPrecheckFailedWrongServerBuild(patch Ref[PoolPatch], found string, required string) *Error {
	return NewError(CodePatchPrecheckFailedWrongServerBuild, patch.String(), found, required)
}

// ErrPatchPrecheckFailedVMRunning makes PATCH_PRECHECK_FAILED_VM_RUNNING: virtual machines still run on the host.
func ErrPatchPrecheckFailedVMRunning(patch Ref[PoolPatch]) *Error {
	return NewError(CodePatchPrecheckFailedVMRunning, patch.String())
}

// ErrPatchPrecheckFailedOutOfSpace makes PATCH_PRECHECK_FAILED_OUT_OF_SPACE: the host has too little free space for the patch.
func ErrPatchPrecheckFailedOutOfSpace(patch Ref[PoolPatch], found string, required string) *Error {
	return NewError(CodePatchPrecheckFailedOutOfSpace, patch.String(), found, required)
}

// ErrHostHasNoPatchSR makes HOST_HAS_NO_PATCH_SR: no SR of the host can take the patch; what follows the host says of each SR why.
func ErrHostHasNoPatchSR(host Ref[Host], refusals ...string) *Error {
	return NewError(CodeHostHasNoPatchSR, append([]string{host.String()}, refusals...)...)
}

// ErrPatchTrustUnreadable makes PATCH_TRUST_UNREADABLE: a file that says whom this host trusts to sign patches is not understood;
// no patch is taken until it is mended.
func ErrPatchTrustUnreadable(file string, reason string) *Error {
	return NewError(CodePatchTrustUnreadable, file, reason)
}

// ErrInvalidUpdate makes INVALID_UPDATE: the VDI does not hold an update: its signature or its information is not valid.
func ErrInvalidUpdate(info string) *Error {
	return NewError(CodeInvalidUpdate, info)
}

// ErrCannotFindUpdate makes CANNOT_FIND_UPDATE: the content of the update's patch is gone: its VDI does not exist.
func ErrCannotFindUpdate() *Error {
	return NewError(CodeCannotFindUpdate)
}

// ErrUpdateAlreadyExists makes UPDATE_ALREADY_EXISTS: the update is in another VDI already, or another one with this UUID exists.
func ErrUpdateAlreadyExists(uuid string) *Error {
	return NewError(CodeUpdateAlreadyExists, uuid)
}

// ErrUpdateAlreadyApplied makes UPDATE_ALREADY_APPLIED: the update is already applied on this host.
func ErrUpdateAlreadyApplied(update Ref[PoolUpdate]) *Error {
	return NewError(CodeUpdateAlreadyApplied, update.String())
}

// ErrUpdateAlreadyAppliedInPool makes UPDATE_ALREADY_APPLIED_IN_POOL: the update is already applied on every host of the pool.
func ErrUpdateAlreadyAppliedInPool(update Ref[PoolUpdate]) *Error {
	return NewError(CodeUpdateAlreadyAppliedInPool, update.String())
}

// ErrUpdateIsApplied makes UPDATE_IS_APPLIED: the update is applied on a host.
func ErrUpdateIsApplied() *Error {
	return NewError(CodeUpdateIsApplied)
}

// ErrUpdateApplyFailed makes UPDATE_APPLY_FAILED: the update's program failed while it was applied.
func ErrUpdateApplyFailed(output string) *Error {
	return NewError(CodeUpdateApplyFailed, output)
}

// ErrUpdatePoolApplyFailed makes UPDATE_POOL_APPLY_FAILED: the update was not applied on these hosts.
func ErrUpdatePoolApplyFailed(hosts ...Ref[Host]) *Error {
	e := NewError(CodeUpdatePoolApplyFailed)
	for _, host := range hosts {
		e.Params = append(e.Params, host.String())
	}
	return e
}

// ErrUpdatePrecheckFailedUnknownError makes UPDATE_PRECHECK_FAILED_UNKNOWN_ERROR: the update's precheck failed.
func ErrUpdatePrecheckFailedUnknownError(update Ref[PoolUpdate], info string) *Error {
	return NewError(CodeUpdatePrecheckFailedUnknownError, update.String(), info)
}

// ErrUpdatePrecheckFailedPrerequisiteMissing makes UPDATE_PRECHECK_FAILED_PREREQUISITE_MISSING: updates that this one needs are not applied.
func ErrUpdatePrecheckFailedPrerequisiteMissing(update Ref[PoolUpdate], prerequisites string) *Error {
	return NewError(CodeUpdatePrecheckFailedPrerequisiteMissing, update.String(), prerequisites)
}

// ErrUpdatePrecheckFailedWrongServerVersion makes UPDATE_PRECHECK_FAILED_WRONG_SERVER_VERSION: the update is for another server version.
func ErrUpdatePrecheckFailedWrongServerVersion(update Ref[PoolUpdate], found string, required string) *Error {
	return NewError(CodeUpdatePrecheckFailedWrongServerVersion, update.String(), found, required)
}

// ErrUpdatePrecheckFailedOutOfSpace makes UPDATE_PRECHECK_FAILED_OUT_OF_SPACE: the host has too little free space for the update.
func ErrUpdatePrecheckFailedOutOfSpace(update Ref[PoolUpdate], found string, required string) *Error {
	return NewError(CodeUpdatePrecheckFailedOutOfSpace, update.String(), found, required)
}

// ErrHostOffline makes HOST_OFFLINE: the host is not running.
func ErrHostOffline(host Ref[Host]) *Error {
	return NewError(CodeHostOffline, host.String())
}

// ErrPoolDatabaseUnavailable makes POOL_DATABASE_UNAVAILABLE: the pool's database is not reached by a majority of its members;
// the reason says whether anything was changed.
func ErrPoolDatabaseUnavailable(reason string) *Error {
	return NewError(CodePoolDatabaseUnavailable, reason)
}

// ErrHostIsLive makes HOST_IS_LIVE: the host is running.
func ErrHostIsLive(host Ref[Host]) *Error {
	return NewError(CodeHostIsLive, host.String())
}

// ErrHostCannotDestroySelf makes HOST_CANNOT_DESTROY_SELF: a host cannot destroy itself.
func ErrHostCannotDestroySelf(host Ref[Host]) *Error {
	return NewError(CodeHostCannotDestroySelf, host.String())
}

// ErrPoolHostsNotHomogeneous makes POOL_HOSTS_NOT_HOMOGENEOUS: the host has other patches applied than the pool; which, says
// the reason.
func ErrPoolHostsNotHomogeneous(reason string) *Error {
	return NewError(CodePoolHostsNotHomogeneous, reason)
}

// ErrPoolJoiningHostMustHaveSameProductVersion makes POOL_JOINING_HOST_MUST_HAVE_SAME_PRODUCT_VERSION: the host runs another
// version than the pool.
func ErrPoolJoiningHostMustHaveSameProductVersion() *Error {
	return NewError(CodePoolJoiningHostMustHaveSameProductVersion)
}

// ErrPoolJoiningHostCannotContainSharedSRs makes POOL_JOINING_HOST_CANNOT_CONTAIN_SHARED_SRS: the host has a shared SR plugged.
func ErrPoolJoiningHostCannotContainSharedSRs() *Error {
	return NewError(CodePoolJoiningHostCannotContainSharedSRs)
}

// ErrHostNotLive makes HOST_NOT_LIVE: the host does not answer.
func ErrHostNotLive() *Error {
	return NewError(CodeHostNotLive)
}

// ErrHostDisabled makes HOST_DISABLED: the host is disabled.
func ErrHostDisabled(host Ref[Host]) *Error {
	return NewError(CodeHostDisabled, host.String())
}

// ErrHostNotDisabled makes HOST_NOT_DISABLED: the host is enabled.
func ErrHostNotDisabled() *Error {
	return NewError(CodeHostNotDisabled)
}

// ErrHostNameInvalid makes HOST_NAME_INVALID: the host name is invalid, and reason says why.
func ErrHostNameInvalid(reason string) *Error {
	return NewError(CodeHostNameInvalid, reason)
}

// ErrXenAPIMissingPlugin makes XENAPI_MISSING_PLUGIN: the host has no plug-in of that name.
func ErrXenAPIMissingPlugin(name string) *Error {
	return NewError(CodeXenAPIMissingPlugin, name)
}

// ErrSystemStatusRetrievalFailed makes SYSTEM_STATUS_RETRIEVAL_FAILED: a status report could not be made, or not be delivered.
func ErrSystemStatusRetrievalFailed(reason string) *Error {
	return NewError(CodeSystemStatusRetrievalFailed, reason)
}

// ErrSSLVerifyError makes SSL_VERIFY_ERROR: the certificate of a server outside the pool is not trusted.
func ErrSSLVerifyError(reason string) *Error {
	return NewError(CodeSSLVerifyError, reason)
}

// ErrXenAPIPluginFailure makes XENAPI_PLUGIN_FAILURE: a program that the administrator keeps on the host failed, or may not be run.
func ErrXenAPIPluginFailure(status, stdout, stderr string) *Error {
	return NewError(CodeXenAPIPluginFailure, status, stdout, stderr)
}

// ErrHostPowerOnModeDisabled makes HOST_POWER_ON_MODE_DISABLED: the host's power_on_mode is empty.
func ErrHostPowerOnModeDisabled() *Error {
	return NewError(CodeHostPowerOnModeDisabled)
}

// ErrServerCertificateInvalid makes SERVER_CERTIFICATE_INVALID: the certificate is none in PEM form.
func ErrServerCertificateInvalid() *Error {
	return NewError(CodeServerCertificateInvalid)
}

// ErrServerCertificateKeyInvalid makes SERVER_CERTIFICATE_KEY_INVALID: the private key is none in PEM form.
func ErrServerCertificateKeyInvalid() *Error {
	return NewError(CodeServerCertificateKeyInvalid)
}

// ErrServerCertificateKeyMismatch makes SERVER_CERTIFICATE_KEY_MISMATCH: the private key is not that of the certificate.
func ErrServerCertificateKeyMismatch() *Error {
	return NewError(CodeServerCertificateKeyMismatch)
}

// ErrServerCertificateNotValidYet makes SERVER_CERTIFICATE_NOT_VALID_YET: the certificate is not valid yet. Both are times.
func ErrServerCertificateNotValidYet(now, notBefore string) *Error {
	return NewError(CodeServerCertificateNotValidYet, now, notBefore)
}

// ErrServerCertificateExpired makes SERVER_CERTIFICATE_EXPIRED: the certificate has expired. Both are times.
func ErrServerCertificateExpired(now, notAfter string) *Error {
	return NewError(CodeServerCertificateExpired, now, notAfter)
}

// ErrServerCertificateChainInvalid makes SERVER_CERTIFICATE_CHAIN_INVALID: the chain of certificates is none in PEM form.
func ErrServerCertificateChainInvalid() *Error {
	return NewError(CodeServerCertificateChainInvalid)
}

// ErrCertificateNameInvalid makes CERTIFICATE_NAME_INVALID: the name is none for a certificate.
func ErrCertificateNameInvalid(name string) *Error {
	return NewError(CodeCertificateNameInvalid, name)
}

// ErrCertificateAlreadyExists makes CERTIFICATE_ALREADY_EXISTS: the pool already has a certificate of that name.
func ErrCertificateAlreadyExists(name string) *Error {
	return NewError(CodeCertificateAlreadyExists, name)
}

// ErrCertificateDoesNotExist makes CERTIFICATE_DOES_NOT_EXIST: the pool has no certificate of that name.
func ErrCertificateDoesNotExist(name string) *Error {
	return NewError(CodeCertificateDoesNotExist, name)
}

// ErrCertificateCorrupt makes CERTIFICATE_CORRUPT: the text is no certificate that can be trusted.
func ErrCertificateCorrupt(name string) *Error {
	return NewError(CodeCertificateCorrupt, name)
}

// ErrCertificateLibraryCorrupt makes CERTIFICATE_LIBRARY_CORRUPT: what the pool trusts cannot be read.
func ErrCertificateLibraryCorrupt() *Error {
	return NewError(CodeCertificateLibraryCorrupt)
}

// ErrCRLNameInvalid makes CRL_NAME_INVALID: the name is none for a revocation list.
func ErrCRLNameInvalid(name string) *Error {
	return NewError(CodeCRLNameInvalid, name)
}

// ErrCRLAlreadyExists makes CRL_ALREADY_EXISTS: the pool already has a revocation list of that name.
func ErrCRLAlreadyExists(name string) *Error {
	return NewError(CodeCRLAlreadyExists, name)
}

// ErrCRLDoesNotExist makes CRL_DOES_NOT_EXIST: the pool has no revocation list of that name.
func ErrCRLDoesNotExist(name string) *Error {
	return NewError(CodeCRLDoesNotExist, name)
}

// ErrCRLCorrupt makes CRL_CORRUPT: the text is no revocation list of the authority that it names.
func ErrCRLCorrupt(name string) *Error {
	return NewError(CodeCRLCorrupt, name)
}

// ErrHostIsSlave makes HOST_IS_SLAVE: the host is not the pool's coordinator.
func ErrHostIsSlave(address string) *Error {
	return NewError(CodeHostIsSlave, address)
}

// ErrHostStillBooting makes HOST_STILL_BOOTING: the host is still starting.
func ErrHostStillBooting() *Error {
	return NewError(CodeHostStillBooting)
}

// ErrHostCannotSeeSR makes HOST_CANNOT_SEE_SR: the host has no attached PBD of the SR.
func ErrHostCannotSeeSR(host Ref[Host], sr Ref[SR]) *Error {
	return NewError(CodeHostCannotSeeSR, host.String(), sr.String())
}

// ErrCannotContactHost makes CANNOT_CONTACT_HOST: the host cannot be reached.
func ErrCannotContactHost(host Ref[Host]) *Error {
	return NewError(CodeCannotContactHost, host.String())
}

// ErrSRHasNoPBDs makes SR_HAS_NO_PBDS: the SR is not plugged on this host.
func ErrSRHasNoPBDs(sr Ref[SR]) *Error {
	return NewError(CodeSRHasNoPBDs, sr.String())
}

// ErrSRHasPBD makes SR_HAS_PBD: the SR still has a plugged PBD.
func ErrSRHasPBD(sr Ref[SR]) *Error {
	return NewError(CodeSRHasPBD, sr.String())
}

// ErrSRNotEmpty makes SR_NOT_EMPTY: the SR still holds VDIs.
func ErrSRNotEmpty() *Error {
	return NewError(CodeSRNotEmpty)
}

// ErrSRIndestructible makes SR_INDESTRUCTIBLE: the SR is marked as indestructible.
func ErrSRIndestructible(sr Ref[SR]) *Error {
	return NewError(CodeSRIndestructible, sr.String())
}

// ErrSRUUIDExists makes SR_UUID_EXISTS: an SR with this UUID exists.
func ErrSRUUIDExists(uuid string) *Error {
	return NewError(CodeSRUUIDExists, uuid)
}

// ErrSRUnknownDriver makes SR_UNKNOWN_DRIVER: there is no SR driver of this type.
func ErrSRUnknownDriver(driver string) *Error {
	return NewError(CodeSRUnknownDriver, driver)
}

// ErrSRNotSharable makes SR_NOT_SHARABLE: the SR is not shared and is attached on another host.
func ErrSRNotSharable(sr Ref[SR], host Ref[Host]) *Error {
	return NewError(CodeSRNotSharable, sr.String(), host.String())
}

// ErrSRHasMultiplePBDs makes SR_HAS_MULTIPLE_PBDS: the SR has more than one PBD.
func ErrSRHasMultiplePBDs(pbds ...string) *Error {
	return NewError(CodeSRHasMultiplePBDs, append([]string{}, pbds...)...)
}

// ErrSROperationNotSupported makes SR_OPERATION_NOT_SUPPORTED: the SR's driver cannot do this.
func ErrSROperationNotSupported(sr Ref[SR]) *Error {
	return NewError(CodeSROperationNotSupported, sr.String())
}

// ErrSRNotAttached makes SR_NOT_ATTACHED: the SR is not attached.
func ErrSRNotAttached(sr Ref[SR]) *Error {
	return NewError(CodeSRNotAttached, sr.String())
}

// ErrSRFull makes SR_FULL: the SR has too little free space: the bytes that were needed and the bytes that there were.
func ErrSRFull(requested int64, maximum int64) *Error {
	return NewError(CodeSRFull, strconv.FormatInt(requested, 10), strconv.FormatInt(maximum, 10))
}

// ErrSRDeviceInUse makes SR_DEVICE_IN_USE: the SR's device is in use.
func ErrSRDeviceInUse() *Error {
	return NewError(CodeSRDeviceInUse)
}

// ErrSRBackendFailure makes SR_BACKEND_FAILURE: the SR's driver failed.
func ErrSRBackendFailure(status string, stdout string, stderr string) *Error {
	return NewError(CodeSRBackendFailure, status, stdout, stderr)
}

// ErrSRAttachFailed makes SR_ATTACH_FAILED: the SR could not be attached.
func ErrSRAttachFailed(sr Ref[SR]) *Error {
	return NewError(CodeSRAttachFailed, sr.String())
}

// ErrUnimplementedInSMBackend makes UNIMPLEMENTED_IN_SM_BACKEND: the SR's driver does not implement this.
func ErrUnimplementedInSMBackend(message string) *Error {
	return NewError(CodeUnimplementedInSMBackend, message)
}

// ErrDefaultSRNotFound makes DEFAULT_SR_NOT_FOUND: the pool's default SR does not exist.
func ErrDefaultSRNotFound(sr string) *Error {
	return NewError(CodeDefaultSRNotFound, sr)
}

// ErrPBDExists makes PBD_EXISTS: the host already has a PBD of the SR.
func ErrPBDExists(sr Ref[SR], host Ref[Host], pbd Ref[PBD]) *Error {
	return NewError(CodePBDExists, sr.String(), host.String(), pbd.String())
}

// ErrLocationNotUnique makes LOCATION_NOT_UNIQUE: the SR already has a VDI at this location.
func ErrLocationNotUnique(sr Ref[SR], location string) *Error {
	return NewError(CodeLocationNotUnique, sr.String(), location)
}

// ErrVDIInUse makes VDI_IN_USE: the VDI is in use.
func ErrVDIInUse(vdi Ref[VDI], operation string) *Error {
	return NewError(CodeVDIInUse, vdi.String(), operation)
}

// ErrVDIsInUse makes VDI_IN_USE: the VDIs are in use.
func ErrVDIsInUse(vdis ...string) *Error {
	return NewError(CodeVDIInUse, append([]string{}, vdis...)...)
}

// ErrVDINotManaged makes VDI_NOT_MANAGED: the VDI is not managed by the SR's driver.
func ErrVDINotManaged(vdi Ref[VDI]) *Error {
	return NewError(CodeVDINotManaged, vdi.String())
}

// ErrVDIReadonly makes VDI_READONLY: the VDI is read-only.
func ErrVDIReadonly(vdi Ref[VDI]) *Error {
	return NewError(CodeVDIReadonly, vdi.String())
}

// ErrVDITooSmall makes VDI_TOO_SMALL: the VDI is smaller than the bytes it must take.
func ErrVDITooSmall(vdi Ref[VDI], minimum int64) *Error {
	return NewError(CodeVDITooSmall, vdi.String(), strconv.FormatInt(minimum, 10))
}

// ErrVDITooLarge makes VDI_TOO_LARGE: the VDI is larger than the bytes allowed.
func ErrVDITooLarge(vdi Ref[VDI], maximum int64) *Error {
	return NewError(CodeVDITooLarge, vdi.String(), strconv.FormatInt(maximum, 10))
}

// ErrVDINotSparse makes VDI_NOT_SPARSE: the destination must be written in full.
func ErrVDINotSparse(vdi Ref[VDI]) *Error {
	return NewError(CodeVDINotSparse, vdi.String())
}

// ErrVDIMissing makes VDI_MISSING: the VDI's bytes are not on its SR.
func ErrVDIMissing(sr Ref[SR], vdi Ref[VDI]) *Error {
	return NewError(CodeVDIMissing, sr.String(), vdi.String())
}

// ErrVDIIOError makes VDI_IO_ERROR: reading or writing the VDI failed.
func ErrVDIIOError(message string) *Error {
	return NewError(CodeVDIIOError, message)
}

// ErrVDIIncompatibleType makes VDI_INCOMPATIBLE_TYPE: the VDI's type does not allow this.
func ErrVDIIncompatibleType(vdi Ref[VDI], vdiType string) *Error {
	return NewError(CodeVDIIncompatibleType, vdi.String(), vdiType)
}

// ErrVDINoCBTMetadata makes VDI_NO_CBT_METADATA: nothing is known of what changes in the VDI.
func ErrVDINoCBTMetadata(vdi Ref[VDI]) *Error {
	return NewError(CodeVDINoCBTMetadata, vdi.String())
}

// ErrCouldNotImportDatabase makes COULD_NOT_IMPORT_DATABASE: what was to be a pool's database could not be read.
func ErrCouldNotImportDatabase(reason string) *Error {
	return NewError(CodeCouldNotImportDatabase, reason)
}

// ErrNoMoreRedoLogsAllowed makes NO_MORE_REDO_LOGS_ALLOWED: the database is kept in as many VDIs as may be.
func ErrNoMoreRedoLogsAllowed() *Error {
	return NewError(CodeNoMoreRedoLogsAllowed)
}

// ErrRedoLogIsEnabled makes REDO_LOG_IS_ENABLED: the pool has a redo log already, on another SR.
func ErrRedoLogIsEnabled() *Error {
	return NewError(CodeRedoLogIsEnabled)
}

// ErrVDICopyFailed makes VDI_COPY_FAILED: the VDI could not be copied.
func ErrVDICopyFailed() *Error {
	return NewError(CodeVDICopyFailed)
}

// ErrDeviceAlreadyAttached makes DEVICE_ALREADY_ATTACHED: the device is already attached.
func ErrDeviceAlreadyAttached(vbd Ref[VBD]) *Error {
	return NewError(CodeDeviceAlreadyAttached, vbd.String())
}

// ErrDeviceAlreadyDetached makes DEVICE_ALREADY_DETACHED: the device is not attached.
func ErrDeviceAlreadyDetached(vbd Ref[VBD]) *Error {
	return NewError(CodeDeviceAlreadyDetached, vbd.String())
}

// ErrDeviceAlreadyExists makes DEVICE_ALREADY_EXISTS: the virtual machine already has a device with this number.
func ErrDeviceAlreadyExists(device string) *Error {
	return NewError(CodeDeviceAlreadyExists, device)
}

// ErrDeviceDetachRejected makes DEVICE_DETACH_REJECTED: the device is still in use.
func ErrDeviceDetachRejected(class string, vbd Ref[VBD], reason string) *Error {
	return NewError(CodeDeviceDetachRejected, class, vbd.String(), reason)
}

// ErrInvalidDevice makes INVALID_DEVICE: there can be no device with this number.
func ErrInvalidDevice(device string) *Error {
	return NewError(CodeInvalidDevice, device)
}

// ErrVBDNotRemovableMedia makes VBD_NOT_REMOVABLE_MEDIA: the drive's medium cannot be removed: it is not a CD drive.
func ErrVBDNotRemovableMedia(vbd Ref[VBD]) *Error {
	return NewError(CodeVBDNotRemovableMedia, vbd.String())
}

// ErrVBDIsEmpty makes VBD_IS_EMPTY: the drive is empty.
func ErrVBDIsEmpty(vbd Ref[VBD]) *Error {
	return NewError(CodeVBDIsEmpty, vbd.String())
}

// ErrVBDNotEmpty makes VBD_NOT_EMPTY: the drive is not empty.
func ErrVBDNotEmpty(vbd Ref[VBD]) *Error {
	return NewError(CodeVBDNotEmpty, vbd.String())
}

// ErrVBDNotUnpluggable makes VBD_NOT_UNPLUGGABLE: the VBD is marked as one that is not unplugged.
func ErrVBDNotUnpluggable(vbd Ref[VBD]) *Error {
	return NewError(CodeVBDNotUnpluggable, vbd.String())
}

// ErrVBDCDsMustBeReadonly makes VBD_CDS_MUST_BE_READONLY: a CD is attached read-only.
func ErrVBDCDsMustBeReadonly() *Error {
	return NewError(CodeVBDCDsMustBeReadonly)
}

// ErrEventsLost makes EVENTS_LOST: events were lost; fetch everything anew.
func ErrEventsLost() *Error {
	return NewError(CodeEventsLost)
}

// ErrEventFromTokenParseFailure makes EVENT_FROM_TOKEN_PARSE_FAILURE: the token is not one that event.from gave.
func ErrEventFromTokenParseFailure(token string) *Error {
	return NewError(CodeEventFromTokenParseFailure, token)
}

// ErrRoleNotFound makes ROLE_NOT_FOUND: there is no such role.
func ErrRoleNotFound() *Error {
	return NewError(CodeRoleNotFound)
}

// ErrRoleAlreadyExists makes ROLE_ALREADY_EXISTS: the subject has the role already.
func ErrRoleAlreadyExists() *Error {
	return NewError(CodeRoleAlreadyExists)
}

// ErrSubjectAlreadyExists makes SUBJECT_ALREADY_EXISTS: there is a subject with this identifier already.
func ErrSubjectAlreadyExists() *Error {
	return NewError(CodeSubjectAlreadyExists)
}

// ErrSubjectCannotBeResolved makes SUBJECT_CANNOT_BE_RESOLVED: the identifier names no user of the pool, and nobody of its directory.
func ErrSubjectCannotBeResolved() *Error {
	return NewError(CodeSubjectCannotBeResolved)
}

// ErrAuthAlreadyEnabled makes AUTH_ALREADY_ENABLED: external authentication is already enabled for this host.
func ErrAuthAlreadyEnabled(authType, serviceName string) *Error {
	return NewError(CodeAuthAlreadyEnabled, authType, serviceName)
}

// ErrAuthUnknownType makes AUTH_UNKNOWN_TYPE: there is no external authentication of this type.
func ErrAuthUnknownType(authType string) *Error {
	return NewError(CodeAuthUnknownType, authType)
}

// ErrAuthIsDisabled makes AUTH_IS_DISABLED: external authentication is disabled, and the pool has no user of that name.
func ErrAuthIsDisabled() *Error {
	return NewError(CodeAuthIsDisabled)
}

// ErrAuthServiceError makes AUTH_SERVICE_ERROR: the external directory could not be asked.
func ErrAuthServiceError(message string) *Error {
	return NewError(CodeAuthServiceError, message)
}

// ErrAuthEnableFailed makes AUTH_ENABLE_FAILED: the host could not read the external directory.
func ErrAuthEnableFailed(message string) *Error {
	return NewError(CodeAuthEnableFailed, message)
}

// ErrAuthEnableFailedWrongCredentials makes AUTH_ENABLE_FAILED_WRONG_CREDENTIALS: the external directory refuses the user of the configuration.
func ErrAuthEnableFailedWrongCredentials(message string) *Error {
	return NewError(CodeAuthEnableFailedWrongCredentials, message)
}

// ErrAuthEnableFailedUnavailable makes AUTH_ENABLE_FAILED_UNAVAILABLE: the host does not reach the external directory.
func ErrAuthEnableFailedUnavailable(message string) *Error {
	return NewError(CodeAuthEnableFailedUnavailable, message)
}

// ErrPoolAuthAlreadyEnabled makes POOL_AUTH_ALREADY_ENABLED: external authentication is already enabled for at least one host of the pool.
func ErrPoolAuthAlreadyEnabled(host Ref[Host]) *Error {
	return NewError(CodePoolAuthAlreadyEnabled, host.String())
}

// ErrPoolAuthEnableFailed makes POOL_AUTH_ENABLE_FAILED: a host of the pool could not read the external directory.
func ErrPoolAuthEnableFailed(host Ref[Host], message string) *Error {
	return NewError(CodePoolAuthEnableFailed, host.String(), message)
}

// ErrPoolAuthEnableFailedWrongCredentials makes POOL_AUTH_ENABLE_FAILED_WRONG_CREDENTIALS: the external directory refuses the user of the configuration to a host of the pool.
func ErrPoolAuthEnableFailedWrongCredentials(host Ref[Host], message string) *Error {
	return NewError(CodePoolAuthEnableFailedWrongCredentials, host.String(), message)
}

// ErrPoolAuthEnableFailedUnavailable makes POOL_AUTH_ENABLE_FAILED_UNAVAILABLE: a host of the pool does not reach the external directory.
func ErrPoolAuthEnableFailedUnavailable(host Ref[Host], message string) *Error {
	return NewError(CodePoolAuthEnableFailedUnavailable, host.String(), message)
}

// ErrChangePasswordRejected makes CHANGE_PASSWORD_REJECTED: the new password was not taken.
func ErrChangePasswordRejected(message string) *Error {
	return NewError(CodeChangePasswordRejected, message)
}

// ErrUserIsNotLocalSuperuser makes USER_IS_NOT_LOCAL_SUPERUSER: only the local superuser may do this.
func ErrUserIsNotLocalSuperuser(message string) *Error {
	return NewError(CodeUserIsNotLocalSuperuser, message)
}

// ErrInvalidBaseURL makes INVALID_BASE_URL: the base URL is not one of a repository.
func ErrInvalidBaseURL(url string) *Error {
	return NewError(CodeInvalidBaseURL, url)
}

// ErrInvalidGPGKeyPath makes INVALID_GPGKEY_PATH: the path of the GPG key is not the name of a file of trusted keys.
func ErrInvalidGPGKeyPath(gpgkeyPath string) *Error {
	return NewError(CodeInvalidGPGKeyPath, gpgkeyPath)
}

// ErrRepositoryAlreadyExists makes REPOSITORY_ALREADY_EXISTS: there is a repository with this name or URL already.
func ErrRepositoryAlreadyExists(repository Ref[Repository]) *Error {
	return NewError(CodeRepositoryAlreadyExists, repository.String())
}

// ErrRepositoryIsInUse makes REPOSITORY_IS_IN_USE: the repository is one of those that the pool fetches patches from.
func ErrRepositoryIsInUse() *Error {
	return NewError(CodeRepositoryIsInUse)
}

// ErrNoRepositoryEnabled makes NO_REPOSITORY_ENABLED: the pool fetches patches from no repository.
func ErrNoRepositoryEnabled() *Error {
	return NewError(CodeNoRepositoryEnabled)
}

// ErrNoRepositoriesConfigured makes NO_REPOSITORIES_CONFIGURED: the pool has no repositories.
func ErrNoRepositoriesConfigured() *Error {
	return NewError(CodeNoRepositoriesConfigured)
}

// ErrSyncUpdatesInProgress makes SYNC_UPDATES_IN_PROGRESS: patches are fetched from the repositories now.
func ErrSyncUpdatesInProgress() *Error {
	return NewError(CodeSyncUpdatesInProgress)
}

// ErrReposyncFailed makes REPOSYNC_FAILED: the patches of a repository could not be fetched.
func ErrReposyncFailed(repository Ref[Repository], reason string) *Error {
	return NewError(CodeReposyncFailed, repository.String(), reason)
}

// ErrUpdateinfoHashMismatch makes UPDATEINFO_HASH_MISMATCH: the hash is not that of the patches that were fetched last.
func ErrUpdateinfoHashMismatch() *Error {
	return NewError(CodeUpdateinfoHashMismatch)
}

// ErrUpdatesRequireSync makes UPDATES_REQUIRE_SYNC: patches must be fetched from the repositories again.
func ErrUpdatesRequireSync() *Error {
	return NewError(CodeUpdatesRequireSync)
}

// ErrInvalidRepositoryProxyURL makes INVALID_REPOSITORY_PROXY_URL: the URL of the repository proxy is not one.
func ErrInvalidRepositoryProxyURL(url string) *Error {
	return NewError(CodeInvalidRepositoryProxyURL, url)
}

// ErrInvalidRepositoryProxyCredential makes INVALID_REPOSITORY_PROXY_CREDENTIAL: the user name or password of the repository proxy cannot be one.
func ErrInvalidRepositoryProxyCredential() *Error {
	return NewError(CodeInvalidRepositoryProxyCredential)
}

// ErrInvalidUpdateSyncDay makes INVALID_UPDATE_SYNC_DAY: the day cannot be one on which patches are fetched.
func ErrInvalidUpdateSyncDay(day int64) *Error {
	return NewError(CodeInvalidUpdateSyncDay, strconv.FormatInt(day, 10))
}
